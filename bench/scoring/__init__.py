"""How far maps can be trusted, by what the model answers when cells are covered and weights scrambled."""

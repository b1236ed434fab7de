"""How far maps can be trusted, by what the model answers when patches are covered and weights scrambled."""

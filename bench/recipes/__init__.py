"""What a training is made of, by name or from a file."""

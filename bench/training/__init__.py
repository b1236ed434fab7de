"""The training loop and all that a run needs to be right, to survive a kill and to end honestly."""

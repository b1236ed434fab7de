"""Timings one can believe: arms in turns, with their intervals."""

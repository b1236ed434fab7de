"""Verdicts: whether maps are what they claim to be, and why not."""

"""Explainers over the images of a run: which rows, under guard, kept as cells."""

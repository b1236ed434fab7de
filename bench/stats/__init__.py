"""Intervals, agreement and rates: numbers in, numbers out."""

"""Networks and their weights: started from a seed, opened from a run or from a foreign file, summed up, tested."""

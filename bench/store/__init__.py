"""Everything a run folder holds: its paths, its readers and its writers."""

"""What pages, verdicts, scores and timings hold, as plain values. Standard library only."""

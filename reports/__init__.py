"""Names only; values load on first use."""

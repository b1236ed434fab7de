"""Broken and hostile input from fixed seeds; `python -m tests.fuzz` prints the table of docs/reliability.md."""

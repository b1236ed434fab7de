"""Whether what `--fail-if` names broke: every rate with its interval, paired where it can be."""

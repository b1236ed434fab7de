"""The public steps behind bench.api: names in, a run, a judgement, a timing or a page out."""

"""The public steps: names in, a run folder or a page out.

`bench.train`, `bench.explain` and `bench.compare` are these, and the command line calls these very functions.
"""

from __future__ import annotations

from bench.pages.rendering import export_figure, markdown_of, page_of, report
from bench.steps.adopting import adopt
from bench.steps.comparisons import compare
from bench.steps.demonstration import demonstrate
from bench.steps.explanations import Explained, explain, newest_run
from bench.steps.faithruns import faithfulness
from bench.steps.judgements import Judged, judge
from bench.steps.measuring import WHATS, Timed, measure
from bench.steps.picturemaps import explain_pictures
from bench.steps.sweeping import Sweep
from bench.steps.sweeps import sweep
from bench.steps.trainings import evaluate, train
from bench.steps.tuning import find_learning_rate
from bench.steps.verifying import verify
from bench.workplace import Workplace

__all__ = [
    "WHATS",
    "Explained",
    "Judged",
    "Sweep",
    "Timed",
    "Workplace",
    "adopt",
    "compare",
    "demonstrate",
    "evaluate",
    "explain",
    "explain_pictures",
    "export_figure",
    "faithfulness",
    "find_learning_rate",
    "judge",
    "markdown_of",
    "measure",
    "newest_run",
    "page_of",
    "report",
    "sweep",
    "train",
    "verify",
]

"""The public steps: names in, a run folder or a page out.

`bench.train`, `bench.explain` and `bench.compare` are these, and the command line calls these very functions.
"""

from __future__ import annotations

from bench.commands.adopt import adopt
from bench.commands.compare import compare
from bench.commands.demo import demonstrate
from bench.commands.evaluate import evaluate
from bench.commands.explain import Explained, explain
from bench.commands.explain_pictures import explain_pictures
from bench.commands.faithfulness import faithfulness
from bench.commands.judge import Judged, judge
from bench.commands.lr_find import find_learning_rate
from bench.commands.sweep import Sweep, sweep
from bench.commands.timing import WHATS, Timed, measure
from bench.commands.train import train
from bench.commands.verify import verify
from bench.pages.write import export_figure, markdown_of, page_of, report
from bench.store.runs import newest_run
from bench.workspace import Workspace

__all__ = [
    "WHATS",
    "Explained",
    "Judged",
    "Sweep",
    "Timed",
    "Workspace",
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

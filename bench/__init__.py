"""bench: which implementation is wrong where, what was it looking at, and can the picture be trusted?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api import (
        adopt,
        compare,
        demo,
        evaluate,
        explain,
        explain_pictures,
        export,
        faithfulness,
        find_learning_rate,
        judge,
        known_answers,
        measure,
        report,
        sweep,
        train,
        verify,
    )
    from bench.errors import BenchError

__version__ = "0.1.0"
__all__ = [
    "BenchError",
    "__version__",
    "adopt",
    "compare",
    "demo",
    "evaluate",
    "explain",
    "explain_pictures",
    "export",
    "faithfulness",
    "find_learning_rate",
    "judge",
    "known_answers",
    "measure",
    "report",
    "sweep",
    "train",
    "verify",
]


def __getattr__(name: str) -> object:
    """Load a public function on first use, so that `import bench` stays free of torch."""
    if name == "BenchError":
        from bench import errors

        return errors.BenchError
    if name in __all__:
        from bench import api

        return getattr(api, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")

"""The kinds of input, and one case of a kind by its number."""

import os
import random
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from fuzz import checkpoints, data, runs, words
from fuzz.judging import OTHER, Outcome

Case = Callable[[random.Random, Path, Path], Outcome]
KINDS: Mapping[str, Case] = {
    "run folders": runs.case,
    "data sets": data.case,
    "checkpoints": checkpoints.case,
    "command lines": words.line_case,
    "TOML files": words.toml_case,
}


def tried(kind: str, number: int, base: Path) -> Outcome:
    """What comes of a case; the same every time for a kind and a number."""
    torch.set_num_threads(1)
    (base / f"now-{os.getpid()}").write_text(f"--kind '{kind}' --case {number}", encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        try:
            return KINDS[kind](random.Random(f"{kind} {number}"), Path(folder), base)
        except Exception:
            return Outcome(OTHER, f"the case itself failed\n{traceback.format_exc()}")

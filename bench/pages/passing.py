"""The raw rates of a run, in the order they were taken."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path

from bench.registry import short
from bench.values.evidence import Rates
from bench.values.views import EpochPoint


def timings_of(run: int, folder: Path, curve: Sequence[EpochPoint], wanted: Set[str]) -> tuple[Rates, ...]:
    """Training by epoch, then every explainer by batch.

    Args:
        run: index of the run on its page.
        folder: of the run.
        curve: its epochs.
        wanted: ids of timings that cells of the page name; others are of maps that were made anew since.
    """
    training = tuple(each.images_per_second for each in curve if 0 < each.images_per_second < math.inf)
    found = [Rates(run, "training", "epoch", training)] if training else []
    for path in sorted((folder / "timing").glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            timing = json.loads(path.read_text(encoding="utf-8"))
            if timing["id"] in wanted:
                found += list(_of_rows(run, timing["rows"], str(timing["id"])))
    return tuple(found)


def _of_rows(run: int, rows: Sequence[dict[str, object]], id_: str) -> Iterator[Rates]:
    """Timings whose samples can be read."""
    for row in rows:
        samples, layers = row["samples"], row["layers"]
        if not isinstance(samples, list) or not isinstance(layers, list):
            continue
        rates = tuple(float(images) / float(seconds) for images, seconds in samples if seconds > 0)
        if rates and all(0 < each < math.inf for each in rates):
            what = f"{short(str(row['explainer']))} at {', '.join(map(str, layers))}"
            yield Rates(run, what, "batch", rates, id_)

"""Where timings lie. Two of them are beside each other only where nothing else differs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from bench.errors import StoreError
from bench.registry.registry import short
from bench.schema.page import EpochPoint, Rates
from bench.schema.timing import Timing
from bench.store.files import read_value, write_json
from bench.store.paths import timing_files, timing_path

TIMING_SCHEMA = 1


def write_timing(folder: Path, timing: Timing) -> Path:
    """Store a timing; gives its file."""
    path = timing_path(folder, timing.id)
    write_json(path, dataclasses.asdict(timing))
    return path


def read_timing(path: Path) -> Timing:
    """A timing file, validated; StoreError where it is damaged, newer than this bench, or of another kind.

    Figures that no clock can give (a rate of 0, a time below 0, what is not finite) are damage, too.
    """
    timing = read_value(path, Timing, TIMING_SCHEMA)
    if wrong := next(_impossible(timing), None):
        raise StoreError(f"{path}: {wrong}", try_="bench time, for another one")
    return timing


def _impossible(timing: Timing) -> Iterator[str]:
    """What cannot have been measured, in words."""
    for one in timing.samples:
        if one.calls < 1 or not one.seconds or not all(0 < each < math.inf for each in one.seconds):
            yield f"{one.arm} took {one.seconds} s for {one.calls} calls"
    for arm in timing.arms:
        ratio = (arm.ratio.value, arm.ratio.low, arm.ratio.high) if arm.ratio else ()
        known = [each for each in (arm.rate, arm.low, arm.high, arm.p10, arm.p90, *ratio) if each is not None]
        if arm.batch_size < 1 or not all(0 < each < math.inf for each in known) or not 0 <= arm.spread < math.inf:
            yield f"{arm.name} has a rate, an interval, a spread or a ratio that cannot be"


def newest_timing(*folders: Path, models: Mapping[str, str | None] = MappingProxyType({})) -> Timing | None:
    """The newest timing of any of the folders, each a run's or that of all runs; None where there is none.

    The rates that `bench explain` notes in passing lie in the same folders and are none; neither is a damaged file.

    Args:
        models: only a timing that knows all of these models by their names (registered ones or runs'), and with these
            checkpoints where they are not None; a page of several runs asks for all of its runs.
    """
    every = (path for folder in folders for path in timing_files(folder))
    paths = sorted(every, key=lambda path: path.name)
    for path in reversed(paths):
        if not _is_timing(path):
            continue
        with suppress(StoreError):
            found = read_timing(path)
            if all(knows(found, name, checkpoint) for name, checkpoint in models.items()):
                return found
    return None


def knows(timing: Timing, name: str, checkpoint: str | None) -> bool:
    """Whether a timing has a model of that name, with that checkpoint where it is not None."""
    known = timing.models.get(name)
    return known is not None and checkpoint in (None, known.get("checkpoint"))


def _is_timing(path: Path) -> bool:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("what") == "time"


def not_paired(first: Timing, second: Timing) -> str:
    """Why rates of two timings must not be ranked, in words; empty only for one and the same timing.

    Even two timings that are alike in everything were taken at different times, so they are not paired either.
    """
    if first.id == second.id and first.host == second.host:
        return ""
    words = {"host": "hosts", "device": "devices", "threads": "threads", "batch_size": "batch sizes"}
    differ = [plural for name, plural in words.items() if getattr(first, name) != getattr(second, name)]
    if dict(first.versions) != dict(second.versions):
        differ.append("versions")
    if _precisions(first) != _precisions(second):
        differ.append("precisions")
    return f"not paired: other {', '.join(differ)}" if differ else "not paired: taken at different times"


def _precisions(timing: Timing) -> set[tuple[str, str]]:
    return {(arm.what, arm.precision) for arm in timing.arms}


def rates_of(folder: Path) -> dict[tuple[str, str, str], tuple[float, int, int]]:
    """Rates of all timings; one that cannot be read leaves its cells without a rate, which the page shows."""
    rates = {}
    for path in timing_files(folder):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            timing = json.loads(path.read_text(encoding="utf-8"))
            for row in timing["rows"]:
                rate = _rate(row["images_per_second"])
                value = None if rate is None else (rate, len(row["layers"]), int(row["targets"]))
                rates.update({(str(timing["id"]), str(row["explainer"]), str(layer)): value for layer in row["layers"]})
    return {key: value for key, value in rates.items() if value is not None}


def _int(value: object) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def _rate(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None


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
    for path in timing_files(folder):
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

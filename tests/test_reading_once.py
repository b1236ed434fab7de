"""A call reads each file of a run folder at most once, whoever asks for it."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from old_runs import copied

from bench import api
from bench.store.folder import RunFolder
from bench.store.paths import cell_files, cell_path, predictions_path, record_path, samples_path
from bench.store.rows import read_cell
from bench.workspace import Workspace


class Reads:
    """How often Python opens each file for reading while somebody counts. An audit hook cannot be taken away."""

    def __init__(self) -> None:
        self.counts: Counter[Path] | None = None
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.counts is None or event != "open":
            return
        name, mode, _ = arguments
        if isinstance(name, str | Path) and mode and not set(mode) & set("wax+"):
            self.counts[Path(name)] += 1

    @contextmanager
    def counted(self, folder: Path) -> Iterator[Counter[Path]]:
        """Files of a folder, by how often they are opened."""
        self.counts = found = Counter()
        try:
            yield found
        finally:
            self.counts = None
            for path in [path for path in found if not path.is_relative_to(folder)]:
                del found[path]


READS = Reads()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return copied(tmp_path, monkeypatch)


WHAT = {"explainer": ["gradcam", "captum"], "layer": ["layer3", "layer4"]}
CALLS: dict[str, Callable[[Workspace], object]] = {
    "explain": lambda place: api.explain("old", limit=12, **WHAT, workspace=place),
    "compare": lambda place: api.compare("old", "other", limit=4, no_time=True, **WHAT, workspace=place),
    "judge": lambda place: api.judge("old", limit=1, explainer="gradcam", layer="layer4", workspace=place),
    "faithfulness": lambda place: api.faithfulness(
        "old", explainer="gradcam", layer="layer4", limit=6, sanity=2, workspace=place
    ),
    "report": lambda place: api.report("old", "other", workspace=place),
    "report of all": lambda place: api.report(workspace=place),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_with_nothing_to_make_reads_each_file_once(name: str, place: Workspace) -> None:
    CALLS[name](place)  # whatever is missing is made now
    with READS.counted(place.runs) as counts:
        CALLS[name](place)
    assert {path: count for path, count in counts.items() if count > 1} == {}
    run = place.runs / "old"
    read = [record_path(run), predictions_path(run)]
    read += [cell_path(run, "gradcam", "layer4")] if name == "faithfulness" else [samples_path(run), *cell_files(run)]
    assert {path: counts[path] for path in read} == dict.fromkeys(read, 1)


def test_a_file_that_is_read_twice_is_counted_twice(place: Workspace) -> None:
    path = cell_path(place.runs / "old", "gradcam", "layer4")
    with READS.counted(place.runs) as counts:
        read_cell(path)
        read_cell(path)
    assert counts == {path: 2}


def test_rows_that_a_call_adds_are_known_without_reading(place: Workspace) -> None:
    run = RunFolder(place.runs / "old")
    added = RunFolder(place.runs / "old").cell("captum", "layer4")
    assert added is not None
    run.add_rows(added)
    with READS.counted(place.runs) as counts:
        assert run.cell("captum", "layer4") is not None
    assert counts == {}

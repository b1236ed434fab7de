"""The run folders of tests/data/schema1, which commit ac63fb9 wrote: a finished pair and a training broken off."""

import json
import shutil
from pathlib import Path

import pytest
from listening import Listener
from tiny import TINY

from bench.workspace import Workspace

STORED = Path(__file__).parent / "data" / "schema1"
KEYED = ("explaining.plan", "scoring.occluded_answers", "scoring.randomization")  # where rows are given their key


def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy to work on, where the versions that rows hang on are those that the rows were made with."""
    runs = tmp_path / "runs"
    shutil.copytree(STORED, runs)
    stored = json.loads((STORED / "old" / "run.json").read_text())["environment"]["versions"]

    def versions(names: tuple[str, ...] = tuple(stored)) -> dict[str, str]:
        return {name: stored[name] for name in ("python", *names) if name in stored}

    for name in KEYED:
        monkeypatch.setattr(f"bench.{name}.versions", versions)
    return Workspace(runs=runs, cache=tmp_path / "cache", progress=Listener(), models={"tiny": TINY})  # type: ignore[arg-type]


def content(folder: Path, pattern: str) -> dict[str, bytes]:
    """The bytes of the files of a folder that match."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob(pattern))}

"""The three worked examples of docs/bring-your-own.md, typed as they stand."""

import shlex
import shutil
from pathlib import Path

import pytest
from command_line import call
from docs_commands import ROOT, fenced

TEXT = (ROOT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples name: their folder, and scikit-learn's photographs."""
    import sklearn.datasets

    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for name in ("china.jpg", "flower.jpg"):
        shutil.copy(Path(sklearn.datasets.__file__).parent / "images" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return tmp_path


@pytest.mark.slow
def test_the_three_examples_run_as_they_are_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shells, code = fenced(TEXT, "sh"), fenced(TEXT, "python")[0]  # the others have a net of the reader's
    assert len(shells) == 3
    monkeypatch.syspath_prepend(str(folder / "examples"))
    exec(code, {})
    said = ""
    for line in "".join(shells).splitlines():
        result = call(*shlex.split(line)[1:])
        assert result.exit_code == 0, f"{line}\n{result.stderr}"
        said += result.stdout + result.stderr
    assert "running examples/my_net.py" in said and "wrapper names taken off" in said
    assert "no better than guessing" in said
    assert (folder / "runs" / "mobile" / "images" / "1" / "index.html").is_file()
    assert "resized from 640x427 to 64x64" in said

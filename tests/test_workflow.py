"""The workflow of examples/github-actions: short, whole, and its commands do what its README says."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_commands import fenced

EXAMPLES = Path(__file__).parents[1] / "examples"
GATE = EXAMPLES / "github-actions" / "gate.yml"


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(GATE.read_text(encoding="utf-8"))["jobs"]["gate"]["steps"]
    return found


def commands() -> list[str]:
    return [each["run"] for each in steps() if "run" in each and not each["run"].startswith("pip ")]


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A step as GitHub runs it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    env = {**kept, "PATH": path, "CI": "true", "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    words = ["bash", "-e", "-c", line]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_the_workflow_is_short_and_keeps_the_page_of_a_gate_that_broke() -> None:
    assert len(GATE.read_text(encoding="utf-8").splitlines()) <= 20
    upload = next(each for each in steps() if "upload-artifact" in each.get("uses", ""))
    (compare,) = [line for line in commands() if line.startswith("bench compare")]
    words = shlex.split(compare)
    assert upload["with"]["path"] == f"{words[words.index('--out') + 1]}/index.html" and "--single-file" in words
    assert upload["if"] == "${{ !cancelled() }}"


@pytest.mark.slow
def test_the_workflow_passes_an_equal_model_and_fails_a_worse_one(tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "my_model.py", tmp_path)
    (baseline,) = fenced((GATE.parent / "README.md").read_text(encoding="utf-8"), "sh")
    made = shell(baseline.replace("git add", "test -d"), tmp_path)
    assert made.returncode == 0, made.stderr
    for epochs, code, says in (("10", 0, "\n- held\\: not accuracy"), ("1", 3, "\n- broken\\: accuracy")):
        train, compare = (line.replace("--epochs 10", f"--epochs {epochs}") for line in commands())
        done = [shell(line, tmp_path) for line in (train, compare)]
        assert [each.returncode for each in done] == [0, code], done[1].stderr
        summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
        assert summary.startswith("### ") and says in summary and "| baseline | my\\_model.py" in summary
        assert (tmp_path / "page" / "index.html").stat().st_size > 100_000
        assert "error: broken: accuracy[new] < accuracy[baseline] - 0.03" in done[1].stderr or code == 0
        shutil.rmtree(tmp_path / "runs" / "new")
        (tmp_path / "summary.md").unlink()

"""Broken and hostile input comes to a right result or a named error, within bounds; see tests/fuzz."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import judging
from fuzz.cases import KINDS
from fuzz.judging import NAMED, OTHER, outcome

CASES = 1500


@pytest.mark.slow
@pytest.mark.alone
def test_fixed_seeds_of_every_kind_come_to_results_and_named_errors() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--cases", str(CASES)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.count("\n| ") == 1 + len(KINDS)


@pytest.mark.parametrize("fault", ["KeyError('x')", "BaseException('x')", "StoreError('a\\x1b[2J')"])
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bench.errors import StoreError

    def broken(*_: object) -> None:
        raise eval(fault, {"StoreError": StoreError})

    monkeypatch.setattr("bench.cli.commands.run_folders", broken)
    expected = NAMED if "StoreError" in fault else OTHER
    assert outcome("list", "runs", runs=tmp_path).kind == expected
    monkeypatch.setattr("bench.cli.console.ORDERS", ())  # the filter lets all through
    monkeypatch.setattr(judging, "SECONDS", 5)
    if expected == NAMED:
        assert outcome("list", "runs", runs=tmp_path).kind == OTHER

"""Commands that are killed at random moments, and two at once, lose nothing; see bad_luck.py for more rounds."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_command_killed_by_each_signal_and_every_pair_at_once_loses_nothing() -> None:
    script = Path(__file__).with_name("bad_luck.py")
    words = [sys.executable, str(script), "--kills", "21", "--races", "8", "--seed", "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

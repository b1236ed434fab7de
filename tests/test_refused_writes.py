"""Every command that writes answers a system that refuses with the file's name and a way on, and nothing else."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import SHORT, call, done
from tiny import TINY_FILE, tiny_data, write_images

from bench.store.paths import checkpoint_path

CODES = {code: errno.errorcode[code] for code in (
    errno.ENOSPC, errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG,
)}  # fmt: skip
CELL = ("--explainer", "captum", "--layer", "layer4", "--limit", "2")
NET = ("--model", TINY_FILE, "--data", "PICTURES")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", *NET, *SHORT),
    "adopt": ("adopt", *NET, "--weights", "WEIGHTS"),
    "explain": ("explain", "--run", "a", *CELL),
    "explain pictures": ("explain", "--run", "a", *CELL[:4], "--image", "PICTURE"),
    "compare": ("compare", "a", "b", "--no-time", *CELL),
    "report": ("report", "a"),
    "report in a folder": ("report", "a", "--folder"),
    "export": ("export", "a", "--figure", "gallery", "--to", "figure.png"),
    "export a folder": ("export", "a", "--to", "handin", "--n", "2"),
    "judge": ("judge", "a", "--explainer", "gradcam", "--limit", "2"),
    "faithfulness": ("judge", "a", "--faithfulness", "--explainer", "gradcam", "--limit", "2"),
    "evaluate": ("evaluate", "a"),
    "lr-find": ("lr-find", *NET, "--steps", "20", "--batch-size", "8"),
    "show data": ("show", "data", "PICTURES", "--out", "sheet.png"),
    "time": ("time", "--run", "a", "--what", "forward", "--rounds", "2", "--budget", "1s", "--batch-size", "4"),
}
FAST = [(name, list(CODES)[place % len(CODES)]) for place, name in enumerate(COMMANDS)]
SLOW = [(name, code) for name in COMMANDS for code in CODES if (name, code) not in FAST and name != "time"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, weights, and two runs, one with a few maps."""
    folder = tmp_path_factory.mktemp("place")
    pictures = write_images(folder / "pictures", tiny_data(train=16, test=6))
    for seed, name in enumerate("ab"):
        words = ("train", "--model", TINY_FILE, "--data", str(pictures), "--seed", str(seed), "--run", name)
        done(*words, *SHORT, runs=folder / "runs")
    done("explain", "--run", "a", "--explainer", "gradcam", "--limit", "2", runs=folder / "runs")
    shutil.copy(checkpoint_path(folder / "runs" / "a"), folder / "weights.safetensors")
    return folder


def refused(code: int, after: int, seam: str, patch: pytest.MonkeyPatch) -> None:
    """From the n-th on, every file that is begun (`mkstemp`) or whose bytes go to the disk (`fsync`) is refused."""
    owner, left = (tempfile, [after]) if seam == "mkstemp" else (os, [after])
    real = getattr(owner, seam)

    def refuse(*args: object, **options: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(code, os.strerror(code))
        return real(*args, **options)

    patch.setattr(owner, seam, refuse)


@pytest.mark.parametrize(
    ("name", "code", "after", "seam"),
    [
        *(pytest.param(*each, 0, "mkstemp", marks=pytest.mark.slow if each[0] == "time" else ()) for each in FAST),
        *(("report", code, 3, "fsync") for code in CODES),
        ("adopt", errno.ENOSPC, 4, "fsync"),  # the run is begun, and goes again
        *(
            pytest.param(*each, after, seam, marks=pytest.mark.slow)
            for each in SLOW
            for after, seam in ((0, "mkstemp"), (1, "fsync"))
        ),
    ],
    ids=lambda value: CODES.get(value, str(value)),
)
def test_a_write_that_the_system_refuses_is_named_with_a_way_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, after: int, seam: str
) -> None:
    shutil.copytree(place / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    there = {"PICTURES": place / "pictures", "WEIGHTS": place / "weights.safetensors"}
    there["PICTURE"] = next((place / "pictures").rglob("*.png"))
    words = [str(there.get(word, word)) for word in COMMANDS[name]]
    refused(code, after, seam, monkeypatch)
    result = call(*words)
    assert result.exit_code == 1, (result.stderr, result.stdout)
    error, hint = result.stderr.splitlines()[-2:]
    assert error.startswith("error: ") and f"cannot be written: {os.strerror(code)}" in error
    assert hint.startswith("  try: ") and "bench " in hint
    assert result.stderr.count("error:") == result.stderr.count("try:") == 1 and "Traceback" not in result.stderr


def test_lr_find_asks_whether_its_curve_can_be_written_before_its_first_step(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.commands.lr_find.find_rate", lambda *args, **options: pytest.fail("it trained"))
    monkeypatch.setattr("bench.whole_file.tempfile.TemporaryFile", raising(errno.EROFS))
    result = call("lr-find", "--model", TINY_FILE, "--data", str(place / "pictures"), runs=tmp_path / "runs")
    assert result.exit_code == 1 and "cannot be written: Read-only file system" in result.stderr, result.stderr


def raising(code: int) -> Callable[..., None]:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse

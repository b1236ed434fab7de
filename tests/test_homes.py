"""What may be passed on tells nothing of the machine, and what is written as `~/...` is found again."""

import os
import platform
import shutil
import zipfile
from itertools import chain, repeat
from pathlib import Path
from typing import Literal
from unittest.mock import DEFAULT, Mock

import platformdirs
import pytest
from command_line import SHORT, done
from platformdirs.macos import MacOS
from tiny import TINY_FILE, tiny_data, write_images

from bench import api
from bench.homes import at, homeless
from bench.store.runs import read_record
from bench.training import checkpoint as keeping
from bench.workspace import Workspace, default_cache

PLANTED = "planted_ñame"
CELL = ("--explainer", "reference", "--layer", "layer4", "--limit", "2")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of a user, with a model, a data set and weights in it."""
    home = tmp_path / "homes" / PLANTED
    home.mkdir(parents=True)
    for name, value in {"HOME": str(home), "USER": PLANTED, "LOGNAME": PLANTED}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platform, "node", lambda: f"host-of-{PLANTED}")
    shutil.copy(TINY_FILE.rpartition(":")[0], home / "net.py")
    write_images(home / "pictures", tiny_data(train=8, test=3))
    monkeypatch.chdir(home)
    return home


def contents(path: Path) -> dict[str, bytes]:
    """What is in a file, unpacked where it is an archive."""
    if not zipfile.is_zipfile(path):
        return {str(path): path.read_bytes()}
    with zipfile.ZipFile(path) as archive:
        return {f"{path}: {name}": archive.read(name) for name in archive.namelist()}


def test_nothing_that_is_written_names_the_user_and_all_of_it_is_found_again(home: Path) -> None:
    runs, net, data = home / "runs", str(home / "net.py:TINY"), str(home / "pictures")
    (home / "mine.toml").write_text("base = 'demo'\nbatch_size = 16\n", encoding="utf-8")
    done("train", "--model", net, "--data", data, "--run", "a", "--recipe", str(home / "mine.toml"), *SHORT, runs=runs)
    weights = shutil.copy(runs / "a" / "checkpoint.safetensors", home / "weights.safetensors")
    done("adopt", "--weights", str(weights), "--model", net, "--data", data, "--run", "b", runs=runs)
    os.chdir("/")
    done("explain", "a", "b", "--which", "all", *CELL, runs=runs)
    done("judge", "a", "--limit", "1", *CELL[:4], runs=runs)
    done("compare", "a", "b", "--limit", "2", "--no-time", runs=runs)
    done("export", "~/runs/a", "--figure", "gallery", "--to", "~/runs/figure.pdf")
    done("export", "~/runs/a", "--to", "~/runs/handin", "--n", "2")
    timed = done("time", "a", "--what", "forward", "--rounds", "1", "--no-memory", "--batch-size", "4", runs=runs)
    found = {name: data for path in runs.rglob("*") if path.is_file() for name, data in contents(path).items()}
    assert len(found) > 20 and {str(runs / "figure.pdf"), timed.stdout.splitlines()[-1]} <= set(found)
    assert [name for name, data in found.items() if b"planted" in data] == []
    record = read_record(runs / "a")
    assert record.model == "~/net.py:TINY" and record.settings["data"] == "~/pictures" and "~/mine" in record.recipe


def test_a_run_of_what_lies_in_the_home_is_resumed_from_files_that_do_not_name_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workspace(home / "runs", home / "cache", save_every=0)
    with monkeypatch.context() as patched:
        ends = chain(repeat(DEFAULT, 1), repeat(KeyboardInterrupt))
        patched.setattr(keeping, "write_resume", Mock(wraps=keeping.write_resume, side_effect=ends))
        with pytest.raises(KeyboardInterrupt):
            api.train("~/net.py:TINY", data="~/pictures", run="a", workspace=place, epochs=1, batch_size=8, val=0)
    (kept,) = (home / "runs" / "a").glob("resume-*.pt")
    assert all(b"planted" not in data for data in contents(kept).values()) and len(contents(kept)) > 1
    os.chdir("/")
    done("train", "--resume", "a", "--runs-dir", "~/runs", env={"BENCH_CACHE": "~/cache"})
    assert read_record(home / "runs" / "a").status == "done"


def test_a_home_is_one_only_where_a_path_begins(home: Path) -> None:
    text = f"{home}/a '{home}' /mnt{home}/a {home}2/a --data={home}/b <{home}/c&gt; file://{home}/d /data/{PLANTED}/e"
    assert homeless(text) == f"~/a '~' /mnt{home}/a {home}2/a --data=~/b <~/c&gt; file://~/d /data/{PLANTED}/e"
    assert at("~/a") == home / "a" and at("~nobody-of-that-name/a") == Path("~nobody-of-that-name/a")


@pytest.mark.parametrize("home", ["/", "", "relative"])
def test_without_a_home_of_ones_own_nothing_is_replaced(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    assert homeless("/a/relative/b") == "/a/relative/b"


def test_on_a_mac_data_is_kept_in_its_caches_and_runs_may_lie_where_folders_have_spaces(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_a_mac(name: str, *, appauthor: Literal[False]) -> str:
        return MacOS(name, appauthor).user_cache_dir

    monkeypatch.setattr(platformdirs, "user_cache_dir", of_a_mac)
    cache, runs = default_cache(), home / "Library" / "Mobile Documents" / "runs"
    assert cache == home / "Library" / "Caches" / "cambench"
    place = Workspace(runs=runs, cache=cache)
    api.train("~/net.py:TINY", data="~/pictures", run="a", workspace=place, epochs=1, batch_size=8, val=0)
    assert read_record(runs / "a").status == "done" and any(cache.iterdir())
    done("list", "runs", "--runs-dir", "~/Library/Mobile Documents/runs")

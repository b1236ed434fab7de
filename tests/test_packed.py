"""A data set in one file: the same values come back, and the same data set is the same file."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_data

from bench.data.packed import packed, unpacked
from bench.errors import DataError
from bench.store.files import sha256


def test_what_was_packed_comes_back(tmp_path: Path) -> None:
    data = tiny_data(3, 2)
    need = packed(data, tmp_path)
    found = unpacked(need.path)
    assert need.sha256 == sha256(need.path)
    for name in ("train", "test"):
        one, other = getattr(found, name), getattr(data, name)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert one.names == other.names
    assert replace(found, train=data.train, test=data.test) == data


def test_a_split_that_is_not_needed_is_empty(tmp_path: Path) -> None:
    found = unpacked(packed(tiny_data(3, 2), tmp_path, ("test",)).path)
    assert (len(found.train), len(found.test)) == (0, 8)


def test_equal_data_sets_are_equal_files_each_time(tmp_path: Path) -> None:
    assert len({packed(tiny_data(3, 2), tmp_path).sha256 for _ in range(8)}) == 1
    assert len(list((tmp_path / "packed").iterdir())) == 1


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    need = packed(tiny_data(3, 2), tmp_path)
    need.path.write_bytes(need.path.read_bytes()[:-9])
    with pytest.raises(DataError, match="is not a complete data set"):
        unpacked(need.path)

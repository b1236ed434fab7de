"""Devices by name, and what is written beside every figure."""

import dataclasses
import json
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock, call

import pytest
import torch
from pretended import pretended
from pydantic import TypeAdapter

from bench import machine
from bench.clock import block
from bench.errors import UsageError
from bench.machine import (
    choose_device,
    code_state,
    cpu_name,
    describe_device,
    environment,
    product_rate,
    reuse_memory,
    versions,
)
from bench.schema.run import Code, Environment


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("name", "words", "offer"),
    [
        *((name, f"this machine has no device '{name}'", "--device auto") for name in ("cuda", "cuda:0", "mps")),
        *((name, f"no device '{name}'", "auto, cpu, cuda, mps") for name in ("gpu", "", "CPU", "tpu:0", "cpu ")),
        *((name, f"'{name}' is not a device", "") for name in ("cpu:x", "cpu:", "cpu:-1", "cpu:0:0")),
    ],
)
def test_a_device_that_is_not_there_or_that_nobody_knows_is_named(name: str, words: str, offer: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        choose_device(name)
    assert offer in error.value.try_


def test_the_gpu_that_is_chosen_becomes_the_current_one_and_one_beyond_the_last_is_refused() -> None:
    with pretended(count=2) as machine:
        assert choose_device("cuda:1") == torch.device("cuda:1")
        with pytest.raises(UsageError, match="no device 'cuda:2', only 2 of cuda"):
            choose_device("cuda:2")
        assert torch.cuda.current_device() == 1
        with machine.counting() as count:
            block(lambda: None, 0.0)
        assert {what for what, _ in count.waits} == {"synchronize cuda:1"}
        assert choose_device("auto") == torch.device("cuda:0") and torch.cuda.current_device() == 0


def test_auto_takes_cuda_before_mps_before_the_cpu(monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps"
    with pretended():
        assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:0")


def test_a_device_is_called_what_people_call_it() -> None:
    with pretended(count=2, name="Tesla T4"):
        assert describe_device(torch.device("cuda:1")) == "Tesla T4"
    assert describe_device(torch.device("mps")) == f"Apple GPU of {platform.machine()}"
    threads = torch.get_num_threads()
    assert describe_device(torch.device("cpu")) == f"{cpu_name()}, {threads} thread{'' if threads == 1 else 's'}"


@pytest.mark.parametrize(
    ("what", "told"), [("exists", lambda path: False), ("read_text", lambda *_, **__: "processor: 0\n")]
)
def test_the_processor_has_a_name_even_where_the_system_tells_none(
    what: str, told: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cpu_name()
    monkeypatch.setattr(Path, what, told)
    assert cpu_name() == (platform.processor() or platform.machine())


def test_versions_are_those_installed_and_no_others() -> None:
    found = versions(("torch", "no-such-distribution"))
    assert (found.keys(), found["python"]) == ({"python", "torch"}, platform.python_version())
    assert torch.__version__.startswith(found["torch"])


def test_the_environment_fits_into_a_record() -> None:
    found = environment(torch.device("cpu"))
    assert TypeAdapter(Environment).validate_json(json.dumps(dataclasses.asdict(found))) == found
    assert found.device_type == "cpu" and found.threads == torch.get_num_threads()
    assert (found.capability, found.cuda, found.driver) == ("", "", "")
    assert found.flags == {"fp32 convolution": "ieee", "fp32 matrix product": "ieee", "deterministic algorithms": "off"}


def test_the_environment_of_a_gpu_names_what_lies_between_torch_and_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.gpus.driver", lambda: "580.65.06")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92400)
    with pretended(capability=(8, 0), memory=40 * 10**9, name="NVIDIA A100") as machine:
        found = environment(machine.device)
    assert TypeAdapter(Environment).validate_json(json.dumps(dataclasses.asdict(found))) == found
    assert (found.device, found.capability, found.gpu_memory) == ("NVIDIA A100", "8.0", "40.0 GB")
    assert (found.cuda, found.cudnn, found.driver) == ("13.0", "9.24.0", "580.65.06")
    assert found.flags == {
        "fp32 convolution": "tf32", "fp32 matrix product": "ieee", "deterministic algorithms": "off",
        "cuDNN deterministic": "off", "cuDNN benchmark": "on",
    }  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_matrix_product_has_a_rate(precision: str) -> None:
    assert 1e8 < product_rate(torch.device("cpu"), precision) < 1e15


# --- memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "name", "told"),
    [
        ("cpu", "glibc", [(-4, 0), (-1, -1)]),
        ("cuda", "glibc", []),
        ("mps", "glibc", []),
        ("cpu", "musl", []),
        ("cpu", "", []),
    ],
)
def test_only_glibc_is_told_to_keep_memory_and_only_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, device: str, name: str, told: list[tuple[int, int]]
) -> None:
    library = Mock()
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda path: library)
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: (name, "1"))
    reuse_memory(torch.device(device))
    assert library.mallopt.call_args_list == [call(*values) for values in told]


def test_the_real_library_takes_it_and_goes_on_giving_memory() -> None:
    for _ in range(2):
        reuse_memory(torch.device("cpu"))
    blocks = [torch.full((64, 2**18), float(index)) for index in range(3)]  # 64 MiB each
    assert [float(each[-1, -1]) for each in blocks] == [0, 1, 2]


def test_the_commit_of_the_code_is_told_with_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert code_state(tmp_path) == Code()
    git("init", "-q")
    package, installed = tmp_path / "package", tmp_path / "site"  # the second unknown to the repository it lies in
    for folder in (package, installed):
        folder.mkdir()
    (package / "a.py").write_text("1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    assert code_state(package) == Code(git("rev-parse", "HEAD"), dirty=False)
    (package / "a.py").write_text("2\n")
    (installed / "b.py").write_text("1\n")
    assert code_state(package).dirty and code_state(installed) == Code()

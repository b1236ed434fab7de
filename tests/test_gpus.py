"""Which GPU is used, and what is said of one that cannot be: on machines that are pretended."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import call
from pretended import pretended
from tiny import TINY_FILE

from bench.errors import UsageError
from bench.gpus import NEEDED, driver, gpu_facts, has_kernels, why_none
from bench.machine import choose_device

CUDA_13 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
P100: dict[str, Any] = {"capability": (6, 0), "name": "Tesla P100-PCIE-16GB"}
T4: dict[str, Any] = {"capability": (7, 5), "name": "Tesla T4"}
H200: dict[str, Any] = {"capability": (9, 0), "name": "NVIDIA H200"}


# --- kernels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((6, 0), CUDA_13, False),
        ((7, 0), CUDA_13, False),
        ((7, 5), CUDA_13, True),
        ((8, 9), CUDA_13, True),  # machine code of an earlier minor of the same major
        ((8, 0), ("sm_86",), False),  # not of a later one
        ((9, 0), ("sm_80", "sm_86"), False),
        ((9, 0), ("sm_80", "compute_80"), True),  # PTX is compiled for what came later
        ((7, 5), ("compute_80",), False),
        ((10, 3), ("sm_100",), True),
        ((10, 3), ("sm_100f",), True),
        ((10, 3), ("sm_100a",), False),
        ((10, 0), ("sm_100a",), True),
        ((12, 0), ("compute_100f",), False),
        ((12, 0), ("compute_100a",), False),
        ((9, 4), ("gfx942",), True),  # AMD's
        ((9, 0), (), True),
    ],
)
def test_a_wheel_has_kernels_for_a_gpu_by_the_rules_of_machine_code_and_ptx(
    capability: tuple[int, int], built_for: tuple[str, ...], runs: bool
) -> None:
    assert has_kernels(capability, built_for) is runs


# --- what is said -------------------------------------------------------------------------------------------

PASSED_BY: dict[str, tuple[dict[str, Any], str]] = {
    "no kernels, too old": (
        {**P100, "archs": CUDA_13},
        "has no kernels for Tesla P100-PCIE-16GB: it has capability 6.0, and they are for 7.5, 8.0, 8.6, 9.0, 10.0, "
        "12.0; taking {cpu}. To change that: pip install --force-reinstall torch torchvision --index-url "
        "https://download.pytorch.org/whl/cu126",
    ),
    "no kernels, too new": (
        {"capability": (12, 0), "name": "NVIDIA GeForce RTX 5090", "archs": ("sm_80", "sm_90")},
        "has no kernels for NVIDIA GeForce RTX 5090: it has capability 12.0, and they are for 8.0, 9.0; taking {cpu}. "
        "To change that: https://pytorch.org/get-started/locally  # the wheel that fits",
    ),
    "an old driver": (
        {"trouble": "old driver", "driver": 12040},
        "the NVIDIA driver is too old: it knows CUDA 12.4, and torch ",
    ),
    "somebody else's": (
        {**T4, "trouble": "in use"},
        "Tesla T4 (cuda:0) cannot be used: all CUDA-capable devices are busy or unavailable; taking {cpu}. To change "
        "that: nvidia-smi  # who uses it",
    ),
    "full": ({**T4, "memory": 5 * 10**8}, "Tesla T4 (cuda:0) has too little memory to spare: 0.5 of 0.5 GB; taking "),
}


@pytest.mark.parametrize("case", PASSED_BY)
def test_a_gpu_that_cannot_be_used_is_told_in_one_line_and_the_cpu_computes(case: str) -> None:
    facts, words = PASSED_BY[case]
    said: list[str] = []
    with pretended("cuda", **facts), warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's own are for nobody
        device = choose_device("auto", said.append)
    assert (device, len(said)) == (torch.device("cpu"), 1)
    assert "\n" not in said[0] and all(part in said[0] for part in words.split("{cpu}"))


@pytest.mark.parametrize("case", [each for each in PASSED_BY if each != "full"])
def test_a_gpu_that_was_named_and_cannot_be_used_is_an_error_with_the_reason(case: str) -> None:
    facts, words = PASSED_BY[case]
    with pretended("cuda", **facts):
        for name in ("cuda", "cuda:0"):
            with pytest.raises(UsageError) as error:
                choose_device(name)
            assert words.partition("; taking")[0] in error.value.message and error.value.try_


def test_a_gpu_whose_cudnn_convolves_nothing_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("cuDNN version 92400 is not compatible with devices with SM < 7.5\nPlease install")

    monkeypatch.setattr("torch.nn.functional.conv2d", broken)
    said: list[str] = []
    with pretended("cuda", **P100):
        assert choose_device("auto", said.append) == torch.device("cpu")
    (line,) = said
    assert "P100-PCIE-16GB (cuda:0) cannot be used: cuDNN version 92400 is not compatible with devices with" in line


def test_a_gpu_that_was_named_is_taken_though_others_left_little_memory() -> None:
    with pretended("cuda", **T4, memory=5 * 10**8):
        assert choose_device("cuda") == choose_device("cuda:0") == torch.device("cuda:0")


def test_auto_passes_by_a_gpu_that_is_full_and_takes_the_next() -> None:
    said: list[str] = []
    with pretended("cuda", **H200, count=2, memory=NEEDED + 2**20) as machine:
        full = torch.zeros(2**21, dtype=torch.uint8).to(machine.device)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "memory_reserved", lambda index: 0)  # another process's
            assert choose_device("auto", said.append) == choose_device("cuda") == torch.device("cuda:1")
        assert choose_device("auto") == torch.device("cuda:0")  # what this process holds it may use
        del full
    (line,) = said
    assert "NVIDIA H200 (cuda:0) has too little memory to spare" in line and "taking NVIDIA H200" in line


@pytest.mark.parametrize(
    ("words", "there", "told"),
    [
        ("Found no NVIDIA driver on your system.", False, ""),
        ("Torch not compiled with CUDA enabled", False, ""),
        ("Torch not compiled with CUDA enabled", True, "was built without CUDA, and this machine has an NVIDIA driver"),
        ("The NVIDIA driver on your system is too old (found version 9010). Please", True, "it knows CUDA 9.1, and"),
        (
            "CUDA initialization: CUDA unknown error - this may be\nmore",
            True,
            "CUDA does not start: CUDA unknown error",
        ),
    ],
)
def test_what_torch_says_of_a_machine_without_a_gpu_is_told_where_it_should_have_one(
    words: str, there: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi" if there else None)
    found = why_none(words)
    assert told in found.message if found and told else (found, told) == (None, "")


# --- facts --------------------------------------------------------------------------------------------------


def test_the_driver_is_read_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (u@h)  Tue Jan 1 2026"
    (tmp_path / "version").write_text(line)
    assert driver(tmp_path / "version") == "580.65.06"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert driver(tmp_path / "nothing") == ""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 570.10\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert driver(tmp_path / "nothing") == "570.10"


def test_a_cudnn_that_does_not_fit_the_gpu_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def version() -> int:
        raise RuntimeError("cuDNN version 92400 is not compatible with devices with SM < 7.5")

    monkeypatch.setattr(torch.backends.cudnn, "version", version)
    with pretended("cuda", **P100):
        assert "cudnn" not in gpu_facts(0) and gpu_facts(0)["capability"] == "6.0"
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 8902)
    with pretended("cuda", **P100):
        assert gpu_facts(0)["cudnn"] == "8.9.2"


# --- the commands -------------------------------------------------------------------------------------------

MACHINES: dict[str, tuple[str, dict[str, Any], tuple[str, str], str]] = {
    "P100": (
        "cuda",
        P100,
        ("cuda:0: Tesla P100", "fp32: capability 6.0 without tensor cores"),
        "Tesla P100-PCIE-16GB in fp32",
    ),
    "T4": ("cuda", T4, ("cuda:0: Tesla T4", "fp16: capability 7.5 has tensor cores for it"), "Tesla T4 in fp16"),
    "two": ("cuda", {**H200, "count": 2}, ("cuda:0: NVIDIA H200", "bf16: capability 9.0"), "NVIDIA H200 in bf16"),
    "Mac": ("mps", {}, ("mps: Apple GPU", "fp32: bf16 and fp16 are not known to be faster"), "Apple GPU of "),
    "no kernels": ("cuda", {**P100, "archs": CUDA_13}, ("cpu: ", "the processor has"), " in "),
}


@pytest.mark.parametrize("name", MACHINES)
def test_doctor_and_dry_run_say_what_a_machine_would_do_and_why(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, facts, (device, precision), planned = MACHINES[name]
    monkeypatch.setattr("bench.commands.train.training_seconds", lambda *_, **__: 40.0)
    with pretended(kind, **facts):
        doctor = call("doctor", runs=tmp_path)
        dry = call("train", "--data", "digits", "--model", TINY_FILE, "--dry-run", runs=tmp_path)
    lines = {line.split("  ")[0]: line for line in doctor.stdout.splitlines()}
    assert doctor.exit_code == dry.exit_code == 0
    assert device in lines["--device auto"] and precision in lines["--precision auto"]
    assert ("GPU 0" in lines) is (kind == "cuda") and ("GPU 1" in lines) is (name == "two")
    assert planned in dry.stderr
    unusable = "no kernels for Tesla P100-PCIE-16GB"
    assert (unusable in doctor.stdout) is (unusable in dry.stderr) is (name == "no kernels")


def test_the_second_of_two_gpus_is_told_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.commands.train.training_seconds", lambda *_, **__: 40.0)
    with pretended("cuda", **H200, count=2):
        dry = call("train", "--data", "digits", "--model", TINY_FILE, "--dry-run", "--device", "cuda:1", runs=tmp_path)
    assert "on NVIDIA H200 (cuda:1) in bf16" in dry.stderr


def test_a_precision_that_a_gpu_emulates_is_told_before_it_is_trained_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.commands.train.training_seconds", lambda *_, **__: 40.0)
    with pretended("cuda", **T4):
        dry = call("train", "--data", "digits", "--model", TINY_FILE, "--dry-run", "--precision", "bf16", runs=tmp_path)
    assert "note: bf16 is slow on this device" in dry.stderr and "--precision auto takes fp16" in dry.stderr

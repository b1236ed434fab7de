"""What a run ran on: devices, threads, versions."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError
from bench.gpus import crowded, gpu_facts, gpus_found, refused
from bench.precision import best_precision, dtype_of, fp32_of
from bench.schema.run import Code, Environment

if TYPE_CHECKING:
    import torch

DISTRIBUTIONS = ("cambench", "torch", "torchvision", "timm", "grad-cam", "captum", "numpy")
MMAP_MAX, TRIM_THRESHOLD = -4, -1  # parameters of mallopt(3)
DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str, warn: Callable[[str], object] = lambda words: None) -> torch.device:
    """The device a user named; `auto` takes the first CUDA GPU that can be used, else MPS, else the CPU.

    Args:
        name: such as `auto`, `cpu`, `cuda:1`; `cuda` is the first that can be used.
        warn: told in a line of each GPU that `auto` passes by.

    Raises:
        UsageError: no such device, or one that cannot be used; says why.
    """
    import torch

    if name == "auto":
        device, passed_by = best_device()
        for error in passed_by:
            warn(f"{error.message}; taking {describe_device(device)}. To change that: {error.try_}")
        return _current(device)
    kind = name.partition(":")[0]
    if kind not in DEVICES[1:]:
        raise UsageError(f"no device '{name}'", try_=f"one of: {', '.join(DEVICES)}")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"'{name}' is not a device", try_=f"{kind}, or {kind}:0") from None
    if kind == "cuda":
        return _current(_gpu(device))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"this machine has no device '{name}'", try_="--device auto")
    return device


def _current(device: torch.device) -> torch.device:
    """The device, as the one that is meant where none is named: torch's own Timer waits for no other."""
    import torch

    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def best_device() -> tuple[torch.device, tuple[UsageError, ...]]:
    """The device that `auto` takes, and why not the GPUs before it."""
    import torch

    count, none = gpus_found()
    found, errors = first_usable(count)
    if found is not None:
        return found, errors
    kind = "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(kind), (*errors, *([none] if none else []))


def first_usable(count: int) -> tuple[torch.device | None, tuple[UsageError, ...]]:
    """The first of so many GPUs that computes and has memory to spare, and why not those before it."""
    import torch

    errors: list[UsageError] = []
    for index in range(count):
        error = refused(index) or crowded(index)
        if error is None:
            return torch.device("cuda", index), tuple(errors)
        errors.append(error)
    return None, tuple(errors)


def _gpu(device: torch.device) -> torch.device:
    """The GPU that is meant; UsageError where it is not there or computes nothing."""
    import torch

    count, none = gpus_found()
    if count == 0:
        why = f": {none.message}" if none else ""
        raise UsageError(f"this machine has no device '{device}'{why}", try_=none.try_ if none else "--device auto")
    if str(device) == "cuda":
        device = first_usable(count)[0] or torch.device("cuda", 0)
    elif device.index >= count:
        raise UsageError(f"this machine has no device '{device}', only {count} of cuda", try_="cuda:0")
    if error := refused(device.index or 0):
        raise error
    return device


def describe_device(device: torch.device) -> str:
    """The device as people call it: "AMD EPYC, 2 threads" or "NVIDIA H200"."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "mps":
        return f"Apple GPU of {platform.machine()}"
    threads = torch.get_num_threads()
    return f"{cpu_name()}, {threads} thread{'s' if threads != 1 else ''}"


def cpu_name() -> str:
    """The processor's model name where the system tells it."""
    info = Path("/proc/cpuinfo")
    told = re.search(
        r"^model name[^:\n]*:(.*)$", info.read_text(errors="replace") if info.exists() else "", re.MULTILINE
    )
    return told[1].strip() if told else platform.processor() or platform.machine()


def versions(distributions: tuple[str, ...] = DISTRIBUTIONS) -> dict[str, str]:
    """Installed versions by distribution name; those that are not there are left out."""
    found = {"python": platform.python_version()}
    for name in distributions:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def host() -> str:
    """Twelve hexadecimal digits that tell this machine from others and do not name it."""
    return hashlib.sha256(f"bench:{platform.node()}:{platform.machine()}".encode()).hexdigest()[:12]


def environment(device: torch.device) -> Environment:
    """What belongs beside every figure: versions, machine, device, threads, precision."""
    import torch

    gpu: dict[str, Any] = gpu_facts(device.index or 0) if device.type == "cuda" else {}
    return Environment(
        versions=versions(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(),
        cores=os.cpu_count() or 0,
        threads=torch.get_num_threads(),
        device=describe_device(device),
        device_type=device.type,
        code=code_state(Path(__file__).resolve().parent),
        **gpu,
        flags=flags(device),
    )


def flags(device: torch.device) -> dict[str, str]:
    """What of torch's switches decides about values and speed, in words."""
    import torch

    switches = {"deterministic algorithms": torch.are_deterministic_algorithms_enabled()}
    if device.type == "cuda":
        cudnn = torch.backends.cudnn
        switches |= {"cuDNN deterministic": cudnn.deterministic, "cuDNN benchmark": cudnn.benchmark}
    fp32 = {f"fp32 {what}": kind for what, kind in fp32_of(device).items()}
    return {**fp32, **{name: "on" if there else "off" for name, there in switches.items()}}


def code_state(folder: Path) -> Code:
    """The git commit of a folder and whether its files differ from it; empty where git knows nothing of it."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        tracked = _git(folder, "ls-files", "--error-unmatch", ".")  # a package installed inside another repository
        dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return Code()
    return Code(commit, dirty) if tracked else Code()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def reuse_memory(device: torch.device) -> None:
    """Let the C library keep freed memory for the next step, instead of handing it back and asking again.

    glibc maps every block of 32 MiB or more anew, and the kernel then clears its pages one by one: a fifth of a
    training step's time on a CPU. A batch's activations are of that size. Elsewhere nothing is done.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, -1)  # never


def large_product(device: torch.device, precision: str) -> tuple[Callable[[], torch.Tensor], float]:
    """A call that multiplies two large matrices in a resolved precision, and its floating-point operations."""
    import torch

    tiles = device.type == "cpu" and precision == best_precision(device)[0] == "bf16"
    size = 8192 if device.type == "cuda" else 2048 if tiles else 1024  # each the smallest that keeps the units busy
    # Numbers as nets have them: some processors are faster with ones, and GPUs take less power for them.
    generator = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(size, size, generator=generator, device=device).to(dtype_of(precision)) for _ in range(2)
    )
    return lambda: left @ right, 2.0 * size**3


def product_rate(device: torch.device, precision: str = "fp32") -> float:
    """Floating-point operations a second of a large matrix product in a resolved precision, in a second."""
    import time

    multiply, operations = large_product(device, precision)
    best = 0.0
    for _ in range(5):  # the first ones warm up; the best is what the device can do
        started = time.perf_counter()
        multiply().sum().item()  # reading the sum waits for the device
        best = max(best, operations / (time.perf_counter() - started))
    return best

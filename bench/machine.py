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
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.precision import dtype_of
from bench.schema.run import Code, Environment

if TYPE_CHECKING:
    import torch

DISTRIBUTIONS = ("cambench", "torch", "torchvision", "timm", "grad-cam", "captum", "numpy")
MMAP_MAX, TRIM_THRESHOLD = -4, -1  # parameters of mallopt(3)
DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """The device a user named; `auto` takes CUDA, then MPS, then the CPU."""
    import torch

    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(each for each in ("cuda", "mps", "cpu") if found[each]))
    kind = name.partition(":")[0]
    if kind not in found:
        raise UsageError(f"no device '{name}'", try_=f"one of: {', '.join(DEVICES)}")
    if not found[kind]:
        raise UsageError(f"this machine has no device '{name}'", try_="--device auto")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"'{name}' is no device", try_=f"{kind}, or {kind}:0") from None
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if device.index is not None and device.index >= count:
        raise UsageError(f"this machine has no device '{name}', only {count} of {kind}", try_=f"{kind}:0")
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

    return Environment(
        versions=versions(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(),
        cores=os.cpu_count() or 0,
        threads=torch.get_num_threads(),
        device=describe_device(device),
        device_type=device.type,
        code=code_state(Path(__file__).resolve().parent),
    )


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

    size = 8192 if device.type == "cuda" else 1024
    # Numbers as nets have them: some processors are faster with ones, and GPUs take less power for them.
    generator = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(size, size, generator=generator, device=device).to(dtype_of(precision)) for _ in range(2)
    )
    return lambda: left @ right, 2.0 * size**3


def product_rate(device: torch.device, precision: str = "fp32") -> float:
    """Floating-point operations a second of a large matrix product in a resolved precision, in about 0.2 s."""
    import time

    multiply, operations = large_product(device, precision)
    best = 0.0
    for _ in range(5):  # the first ones warm up; the best is what the device can do
        started = time.perf_counter()
        multiply().sum().item()  # reading the sum waits for the device
        best = max(best, operations / (time.perf_counter() - started))
    return best

"""CUDA GPUs: which can be used, why another one cannot, and what belongs beside figures that were made on one."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bench.errors import UsageError

BUILT_FOR = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")
# The last wheels that have kernels for Maxwell, Pascal and Volta; pip takes a torch that is there for the same.
OLDER_WHEELS = "pip install --force-reinstall torch torchvision --index-url https://download.pytorch.org/whl/cu126"
INSTALLING = "https://pytorch.org/get-started/locally  # the wheel that fits"
NEEDED = 2**30  # bytes that must be free: what CUDA itself takes, and a small net
GIGABYTE = 1e9
VERSION_FILE = Path("/proc/driver/nvidia/version")
Capability = tuple[int, int]


def gpus_found() -> tuple[int, UsageError | None]:
    """How many GPUs torch finds, and why none where the machine has an NVIDIA driver."""
    import torch

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        return count, None
    words = [str(each.message) for each in heard]
    if not words:  # which torch says once a process
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as reason:
            words = [str(reason)]
    return 0, why_none(words[0]) if words else None


def why_none(words: str) -> UsageError | None:
    """What torch says of a machine on which it finds no GPU, told shorter; None where there is no driver either."""
    import torch

    if "no NVIDIA driver" in words:
        return None
    if "not compiled with CUDA" in words:
        there = shutil.which("nvidia-smi") is not None
        about = f"torch {torch.__version__} was built without CUDA, and this machine has an NVIDIA driver"
        return UsageError(about, try_=INSTALLING) if there else None
    old = re.search(r"too old \(found version (\d+)\)", words)
    if old is None:
        return UsageError(f"CUDA does not start: {words.removeprefix('CUDA initialization: ').splitlines()[0]:.200}")
    major, minor = divmod(int(old[1]) // 10, 100)  # 12040 is 12.4
    about = (
        f"the NVIDIA driver is too old: it knows CUDA {major}.{minor}, and torch {torch.__version__} was built with "
        f"{torch.version.cuda}"
    )
    return UsageError(about, try_=f"a newer driver, or {OLDER_WHEELS}")


def refused(index: int) -> UsageError | None:
    """Why nothing can be computed on a GPU; None where something was."""
    import torch
    from torch.nn.functional import conv2d

    name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    built_for = torch.cuda.get_arch_list()
    if not has_kernels(capability, built_for):
        known = ", ".join(dict.fromkeys(f"{found[2]}.{found[3]}" for found in map(BUILT_FOR.match, built_for) if found))
        older = capability < min(_capability(each) for each in built_for)
        return UsageError(
            f"torch {torch.__version__} has no kernels for {name}: it has capability {_dotted(capability)}, and they "
            f"are for {known}",
            try_=OLDER_WHEELS if older else INSTALLING,
        )
    try:
        one = torch.ones(1, 1, 1, 1, device=f"cuda:{index}")
        conv2d(one, one).item()  # cuDNN has limits of its own
    except RuntimeError as reason:
        words = str(reason).splitlines()[0].removeprefix("CUDA error: ")
        return UsageError(f"{name} (cuda:{index}) cannot be used: {words:.200}", try_="nvidia-smi  # who uses it")
    return None


def crowded(index: int) -> UsageError | None:
    """Whether others left too little memory on a GPU to train anything."""
    import torch

    free, total = torch.cuda.mem_get_info(index)
    if free + torch.cuda.memory_reserved(index) >= NEEDED:  # what this process keeps is its own
        return None
    left = f"{free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB"
    name = torch.cuda.get_device_name(index)
    return UsageError(f"{name} (cuda:{index}) has too little memory to spare: {left}", try_="nvidia-smi  # who uses it")


def every_gpu() -> list[str]:
    """Each GPU in words."""
    import torch

    found = []
    for index in range(gpus_found()[0]):
        free, total = (each / GIGABYTE for each in torch.cuda.mem_get_info(index))
        capability = _dotted(torch.cuda.get_device_capability(index))
        name = torch.cuda.get_device_name(index)
        found.append(f"{name}, capability {capability}, {free:.1f} of {total:.1f} GB free")
    return found


def has_kernels(capability: Capability, built_for: Iterable[str]) -> bool:
    """Whether a wheel runs on a GPU, by what torch.cuda.get_arch_list() says of the wheel.

    `sm_86` is machine code: for its major capability, from its minor on. `compute_86` is PTX, which the driver
    compiles for whatever came later. A letter behind the number binds either: `a` to that capability alone, `f` to its
    major one. Names of another form (AMD's) say nothing against it.
    """
    found = [(each, BUILT_FOR.fullmatch(each)) for each in built_for]
    return not found or any(match is None or _fits(capability, each, match[4]) for each, match in found)


def _fits(capability: Capability, built_for: str, letter: str) -> bool:
    made = _capability(built_for)
    if letter == "a":
        return capability == made
    later = built_for.startswith("compute") and not letter
    return capability >= made and (later or capability[0] == made[0])


def _capability(built_for: str) -> Capability:
    found = BUILT_FOR.match(built_for)
    return (int(found[2]), int(found[3])) if found else (0, 0)


def _dotted(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"


# --- what belongs beside figures ----------------------------------------------------------------------------


def gpu_facts(index: int) -> dict[str, str]:
    """Capability, memory, and the versions of everything between torch and a GPU; what is not known is left out."""
    import torch

    number = 0
    with suppress(RuntimeError):  # where it does not fit the GPU
        number = torch.backends.cudnn.version() or 0  # type: ignore[no-untyped-call]
    scale = 10_000 if number >= 90_000 else 1000  # 92400 is 9.24.0, and 8902 was 8.9.2
    cudnn = f"{number // scale}.{number % scale // 100}.{number % 100}" if number else ""
    memory = torch.cuda.get_device_properties(index).total_memory / GIGABYTE
    facts = {
        "capability": _dotted(torch.cuda.get_device_capability(index)),
        "gpu_memory": f"{memory:.1f} GB",
        "cuda": torch.version.cuda or "",
        "cudnn": cudnn,
        "driver": driver(),
    }
    return {name: value for name, value in facts.items() if value}


def driver(path: Path = VERSION_FILE) -> str:
    """The version of the NVIDIA driver; empty where neither the system nor nvidia-smi tells."""
    with suppress(OSError):
        if found := re.search(r"\b\d{3}\.\d[\d.]*", path.read_text(errors="replace")):
            return found[0]
    with suppress(OSError, subprocess.SubprocessError):
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True).stdout.partition("\n")[0]
    return ""

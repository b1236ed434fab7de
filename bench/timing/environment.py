"""The machine around a timing: load, clocks, and what other processes took of it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.schema.timing import BUSY, Moment

MUCH = 0.05  # share of the machine that others may take before it is said
STAT, CPUFREQ = Path("/proc/stat"), Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
CPUINFO = Path("/proc/cpuinfo")
IDLE_FIELDS = (3, 4)  # idle and iowait of the first line of /proc/stat
GUEST_FIELDS = 8  # what follows is counted in user time already


@dataclass(frozen=True)
class Ticks:
    """Seconds that all cores together spent busy, and in all, since the machine was started; and this process's."""

    busy: float
    total: float
    own: float


def moment(device: torch.device) -> Moment:
    """The machine as it is now."""
    load = None
    with suppress(OSError, AttributeError):  # Windows has no load average
        load = tuple(round(each, 2) for each in os.getloadavg())
    governor = None
    with suppress(OSError):
        governor = CPUFREQ.read_text(encoding="utf-8").strip()
    return Moment(load, core_clocks(), governor, gpu_state(device))


def core_clocks(path: Path = CPUINFO) -> tuple[float, ...] | None:
    """MHz of each core, where the system tells them."""
    with suppress(OSError):
        lines = path.read_text(errors="replace").splitlines()
        return tuple(float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")) or None
    return None


def gpu_state(device: torch.device) -> dict[str, float] | None:
    """Clocks, power and temperature of a CUDA device, where nvidia-ml-py is installed and the driver tells."""
    if device.type != "cuda":
        return None
    with suppress(ImportError):
        import pynvml  # type: ignore[import-not-found, import-untyped, unused-ignore]

        with suppress(pynvml.NVMLError):
            return _asked(pynvml, str(torch.cuda.get_device_properties(device).uuid))
    return None


def _asked(nvml: Any, uuid: str) -> dict[str, float]:  # noqa: ANN401 (a library without types)
    """What the driver tells of the GPU with this id: its own count of GPUs knows no CUDA_VISIBLE_DEVICES."""
    nvml.nvmlInit()
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
        return {
            "clock_mhz": float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "memory_clock_mhz": float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            "power_w": nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "temperature_c": float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        }
    finally:
        nvml.nvmlShutdown()


def ticks(path: Path = STAT) -> Ticks | None:
    """What the cores did so far; None where the system has no /proc/stat."""
    try:
        line = path.read_text(encoding="utf-8").partition("\n")[0]
        numbers = [float(each) for each in line.split()[1 : 1 + GUEST_FIELDS]]
        hertz = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    if len(numbers) < GUEST_FIELDS:
        return None
    idle = sum(numbers[field] for field in IDLE_FIELDS)
    spent = os.times()
    own = spent.user + spent.system + spent.children_user + spent.children_system
    return Ticks((sum(numbers) - idle) / hertz, sum(numbers) / hertz, own)


def others_share(before: Ticks | None, after: Ticks | None) -> float | None:
    """Share of the machine that other processes and the hypervisor took between two readings, in 0..1."""
    if before is None or after is None or after.total <= before.total:
        return None
    others = (after.busy - before.busy) - (after.own - before.own)
    return min(1.0, max(0.0, others / (after.total - before.total)))


def busy_words(others: float | None, before: Moment, *, cores: int) -> str:
    """That the machine was busy, and how; empty where nothing is known against it.

    Where the system does not say what others took, a load of half the cores before the first block says it.
    """
    if others is not None:
        return f"{BUSY}: others took {others:.0%} of it during the rounds" if others > MUCH else ""
    if before.load and before.load[0] > cores / 2:
        return f"{BUSY}: load {before.load[0]:.1f} on {cores} cores before the rounds"
    return ""

"""Peak memory of one arm: of the CUDA allocator in place, on a CPU of a process of its own."""

import dataclasses
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bench.contracts import ExplainerSpec, ModelSpec
from bench.nets.weights import build_seeded, for_inference
from bench.registry.registry import discover
from bench.timing.arms import Arm, ArmSpec, Subject, batch_of, make_arm

MIB = 2**20
STATUS = Path("/proc/self/status")
CALLS = 2  # the second has the optimiser's buffers
LIMIT = 600  # seconds a process may take
CODE = "import sys; sys.path[:0] = {path!r}; from bench.timing.peak_memory import child; child({order!r}, {answer!r})"


def peak_on_device(arm: Arm, device: torch.device) -> float:
    """MiB that one call of an arm allocates at its peak beyond what lies there: weights and batch are not counted."""
    arm.work()
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    arm.work()
    torch.cuda.synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - before) / MIB


def peak_of_process(spec: ArmSpec, subject: Subject, *, batch_size: int) -> float | None:
    """MiB of the largest resident set of a fresh process that makes the arm with seeded weights and calls it twice.

    Libraries are in it. None where the process fails, or the system does not tell.
    """
    order = {"arm": dataclasses.asdict(spec), "model": subject.model, "batch_size": batch_size}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "peak.json"
        code = CODE.format(path=sys.path, order=json.dumps(order), answer=str(answer))
        try:
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=LIMIT)
            peak = json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
    return float(peak) if peak is not None else None


def child(order: str, answer: str) -> None:
    """What the fresh process does: work as an order says, and write the peak into a file."""
    given: dict[str, Any] = json.loads(order)
    spec, device = ArmSpec(**given["arm"]), torch.device("cpu")
    model = discover("model", ModelSpec)[given["model"]]
    subject = Subject(spec.model, given["model"], for_inference(build_seeded(model, 10, 0), device), model.input_size)
    images = batch_of(given["batch_size"], model.input_size, device)
    arm = make_arm(spec, subject, images, explainers=discover("explainer", ExplainerSpec))
    for _ in range(CALLS):
        arm.work()
    Path(answer).write_text(json.dumps(resident_peak()), encoding="utf-8")


def resident_peak() -> float | None:
    """MiB of the largest resident set of this process so far; None on Windows.

    Linux tells it of the program that runs now. Its getrusage also counts what the process was before it began this
    program: the whole parent, so that a large one would hide every child.
    """
    with suppress(OSError, ValueError, StopIteration):
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024  # bytes there, KiB elsewhere

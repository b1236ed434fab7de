"""A net, torch's generators and its kernels as they are to be used for the time of a block; then as they were found."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from bench.errors import UsageError
from bench.precision import ieee

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# What torch runs before and behind a stage that is not of the reentrant kind: a generator of two steps, by its names.
AROUND_STAGES = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")


@contextmanager
def evaluating(model: nn.Module, *, gradients: bool = False) -> Iterator[None]:
    """Eval mode, without gradients unless they are wanted, fp32 without TF32; then every module's own mode again.

    A module whose mode differs from the net's, such as a batch norm that somebody froze, keeps it: `model.train()`
    would not.
    """
    import torch

    with torch.set_grad_enabled(gradients), own_modes(model), nothing_recomputed(), ieee():
        model.eval()
        yield


@contextmanager
def nothing_recomputed() -> Iterator[None]:
    """Stages under `torch.utils.checkpoint` run as any other: once, with a graph.

    The reentrant kind runs them without one, so that no gradient within can be asked for; the other kind runs them
    again on the way back, when nobody who looks on is there.
    """
    import torch.utils.checkpoint as kept

    with ExitStack() as stack:
        stack.enter_context(patch.object(kept.CheckpointFunction, "apply", lambda stage, _, *inputs: stage(*inputs)))
        for name in AROUND_STAGES:
            if hasattr(kept, name):
                stack.enter_context(patch.object(kept, name, lambda *_, **options: iter([None])))
        yield


@contextmanager
def hooked(module: nn.Module, hook: Callable[..., Tensor | None]) -> Iterator[None]:
    """A forward hook that is gone afterwards."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def own_modes(model: nn.Module) -> Iterator[None]:
    """Whatever a block does to the modes of modules, each has its own again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def kernels_for_training(*, deterministic: bool) -> Iterator[None]:
    """The fastest kernels that cuDNN finds by trying; or, deterministic, those that add up in one order each time.

    Which is the fastest may differ from run to run, and with it the last bits. Who asked torch for deterministic
    algorithms before keeps them.

    Raises:
        UsageError: the net needs an operation that has no deterministic kernel; names it.
    """
    import torch

    cudnn, strict = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    before = cudnn.benchmark, cudnn.deterministic
    deterministic = deterministic or strict
    cudnn.benchmark, cudnn.deterministic = not deterministic, before[1] or deterministic
    if deterministic and not strict:
        os.putenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for; read by cuBLAS, not by Python
        torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        words = str(error).partition(",")[0]
        if strict or "not have a deterministic implementation" not in words:
            raise
        raise UsageError(f"--deterministic: {words:.200}", try_="--no-deterministic") from error
    finally:
        cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(strict)


@contextmanager
def generators_kept(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Torch's global generators of the CPU and of a device, perhaps from a seed; afterwards where they were.

    Those of other devices are not touched: `fork_rng` without names reads every GPU's, and `torch.manual_seed` sets it.
    """
    import torch

    on_cpu, on_device = torch.get_rng_state(), generator_state(device)
    if seed is not None:
        torch.default_generator.manual_seed(seed)
    if seed is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif seed is not None and device.type == "mps":
        torch.mps.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(on_cpu)
        if on_device is not None:
            set_generator_state(device, on_device)


def generator_state(device: torch.device) -> Tensor | None:
    """The state of a GPU's global generator; None where the device is none."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def set_generator_state(device: torch.device, state: Tensor) -> None:
    """Put such a state back."""
    import torch

    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)


@contextmanager
def without_words_of_cuda() -> Iterator[None]:
    """Torch's builder of C++ says nothing of a missing GPU, of which it warns wherever it finds CUDA's compiler."""
    log = logging.getLogger("torch.utils.cpp_extension")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)

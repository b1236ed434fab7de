"""A net in eval mode for a while: every module has its own mode again, whatever happened meanwhile."""

import ctypes
import os

import pytest
import torch
from pretended import pretended
from torch import nn

from bench.errors import UsageError
from bench.modes import evaluating, generators_kept, kernels_for_training, own_modes


@pytest.fixture
def net() -> nn.Sequential:
    """In training mode, but for one norm that somebody froze."""
    found = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4), nn.Dropout())).train()
    found[1].eval()
    return found


def modes(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def test_all_of_it_is_in_eval_mode_and_each_module_gets_its_own_mode_back(net: nn.Sequential) -> None:
    before = modes(net)
    assert before == [True, True, False, True, True, True]
    with evaluating(net):
        assert not any(modes(net))
    assert modes(net) == before


def test_an_error_puts_modes_and_gradients_back_too(net: nn.Sequential) -> None:
    before = modes(net)
    with pytest.raises(RuntimeError), evaluating(net):
        raise RuntimeError
    assert modes(net) == before and torch.is_grad_enabled()


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("caller", [False, True])
def test_gradients_are_recorded_where_they_are_wanted_and_afterwards_as_before(
    net: nn.Sequential, wanted: bool, caller: bool
) -> None:
    with torch.set_grad_enabled(caller):
        with evaluating(net, gradients=wanted):
            assert torch.is_grad_enabled() is wanted
        assert torch.is_grad_enabled() is caller


def test_what_a_block_does_to_modes_is_undone(net: nn.Sequential) -> None:
    before = modes(net)
    with own_modes(net):
        net.train()
        net[2].eval()
    assert modes(net) == before


# --- kernels --------------------------------------------------------------------------------------------------


def switches() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.benchmark, cudnn.deterministic, torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("deterministic", "wanted"), [(False, (True, False, False)), (True, (False, True, True))])
def test_kernels_are_tried_or_the_same_each_time_and_afterwards_chosen_as_before(
    deterministic: bool, wanted: tuple[bool, ...]
) -> None:
    before = switches()
    with pytest.raises(ZeroDivisionError), kernels_for_training(deterministic=deterministic):
        assert switches() == wanted
        raise ZeroDivisionError
    assert switches() == before


def test_who_asked_torch_for_the_same_bits_before_keeps_them() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        with kernels_for_training(deterministic=False):
            assert switches() == (False, True, True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_operation_without_a_deterministic_kernel_is_named_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="--deterministic: put_ does not have") as caught, kernels_for_training(
        deterministic=True
    ):  # fmt: skip
        torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))
    assert caught.value.try_ == "--no-deterministic"


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the environment elsewhere")
def test_cublas_is_told_to_repeat_itself_and_only_where_that_was_asked_for() -> None:
    get = ctypes.CDLL(None).getenv  # as libraries see it
    get.restype = ctypes.c_char_p
    os.unsetenv("CUBLAS_WORKSPACE_CONFIG")
    with kernels_for_training(deterministic=False):
        assert get(b"CUBLAS_WORKSPACE_CONFIG") is None
    with kernels_for_training(deterministic=True):
        assert get(b"CUBLAS_WORKSPACE_CONFIG") == b":4096:8"


# --- generators -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_generators_of_the_cpu_and_of_the_device_are_kept_and_those_of_another_not_touched(kind: str) -> None:
    def states() -> list[torch.Tensor]:
        own = [torch.mps.get_rng_state()] if kind == "mps" else torch.cuda.get_rng_state_all() if kind == "cuda" else []
        return [torch.get_rng_state(), *own]

    with pretended("mps") if kind == "mps" else pretended("cuda", count=2):
        device = torch.device("cuda", 1) if kind == "cuda" else torch.device(kind)
        before = states()
        with generators_kept(device, 5):
            inside = states()
            torch.rand(1), torch.rand(1, device=device)
        after = states()
    moved = [not torch.equal(one, other) for one, other in zip(before, inside, strict=True)]
    assert moved == {"cpu": [True], "cuda": [True, False, True], "mps": [True, True]}[kind]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))

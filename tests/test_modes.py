"""A net in eval mode for a while: every module has its own mode again, whatever happened meanwhile."""

import pytest
import torch
from torch import nn

from bench.modes import evaluating, own_modes


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

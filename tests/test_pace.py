"""What a training will take: told by its own steps, at every size and of every image, and without a trace."""

from dataclasses import replace

import pytest
import torch
from tiny import BUSY, TINY
from torch import nn

from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe
from bench.training import pace
from bench.training.pace import training_seconds

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a net moves on: its time in seconds, in a list of one."""
    time = [0.0]
    monkeypatch.setattr(pace, "now", lambda device: time[0])
    return time


class Slow(nn.Module):
    """Takes a second for each 1,000 pixels of each image in training mode, and 1,000 times that at its first call."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.clock, self.net, self.calls = clock, build_seeded(TINY, 4, 0), 0

    def __deepcopy__(self, memo: object) -> nn.Module:
        return Slow(self.clock)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert self.training
        self.calls += 1
        self.clock[0] += images[:, 0].numel() / 1000 * (1000 if self.calls == 1 else 1)
        out: torch.Tensor = self.net(images)
        return out


@pytest.mark.parametrize("batch", [16, 512])
def test_a_training_takes_what_its_steps_take_at_each_size(clock: list[float], batch: int) -> None:
    recipe = replace(BUSY, batch_size=batch)  # of 4 epochs: two at 16 pixels, one at 24, the last as they are
    found = training_seconds(Slow(clock), recipe, 5000, CPU, size=32)
    assert found == pytest.approx(5000 * (2 * 16**2 + 24**2 + 32**2) / 1000)


def test_a_long_training_is_judged_by_more_than_one_step_and_a_short_one_waits_for_none(clock: list[float]) -> None:
    def spent(images: int, recipe: Recipe) -> float:
        started = clock[0]
        training_seconds(Slow(clock), recipe, images, CPU, size=2)
        return clock[0] - started

    recipe = replace(BUSY, sizes=(), precision="fp32")
    # A step of 16 images of 2 x 2 pixels: 0.064 s. The first one, of two, takes 8 s.
    assert spent(16, recipe) == pytest.approx(8 + 0.064)
    assert 1 <= spent(50_000, recipe) - 8 < 1.1


@pytest.mark.parametrize(("batch", "count"), [(512, 128), (16, 16)])
def test_in_bf16_a_step_fills_the_tiles_and_two_go_before_it(clock: list[float], batch: int, count: int) -> None:
    recipe = replace(BUSY, sizes=(), precision="bf16", batch_size=batch)
    training_seconds(Slow(clock), recipe, 32, CPU, size=2)
    assert clock[0] == pytest.approx(count * 0.004 * (1000 + 1 + 1))


def test_an_update_costs_the_same_for_any_batch(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    step = torch.optim.SGD.step

    def slow_step(self: torch.optim.SGD) -> object:
        clock[0] += 10.0
        return step(self)

    monkeypatch.setattr(torch.optim.SGD, "step", slow_step)
    recipe = replace(BUSY, sizes=(), batch_size=500)
    assert training_seconds(Slow(clock), recipe, 1000, CPU, size=2) == pytest.approx(4 * (1000 * 0.004 + 2 * 10))


def test_a_training_that_is_compiled_is_timed_by_compiled_steps_and_compiling_counts(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []

    def quick(
        net: Slow, wanted: list[tuple[int, ...]], device: torch.device, precision: str
    ) -> tuple[nn.Module, float]:
        assert precision == "bf16" and device is CPU
        shapes.extend(wanted)

        def forward(images: torch.Tensor) -> torch.Tensor:
            clock[0] += images[:, 0].numel() / 4000  # a quarter of the time
            out: torch.Tensor = net.net(images)
            return out

        return forward, 30.0

    monkeypatch.setattr(pace, "compiled", quick)
    recipe = replace(BUSY, batch_size=256, precision="bf16")
    found = training_seconds(Slow(clock), recipe, 5000, CPU, size=32, compile_first=True)
    assert found == pytest.approx(3 * 30 + 5000 * (2 * 16**2 + 24**2 + 32**2) / 4000)
    assert shapes == [(256, 3, edge, edge) for edge in (16, 24, 32)]


def test_the_net_the_generators_and_the_modes_stay_as_they_are() -> None:
    net = build_seeded(TINY, 4, 0).eval()
    before, state = {key: value.clone() for key, value in net.state_dict().items()}, torch.get_rng_state()
    assert training_seconds(net, replace(BUSY, sizes=()), 64, CPU, size=32) > 0
    assert torch.equal(torch.get_rng_state(), state) and not any(each.training for each in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(each.grad is None for each in net.parameters())

"""Training in fp16 with a scaled loss, as on a T4: on a pretended one, whose values are real."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended import Machine, pretended
from tiny import BUSY, QUICK, RESIDUAL, TINY, tiny_data
from torch import Tensor, nn

from bench.contracts import Silence
from bench.data.datasets import load_dataset
from bench.errors import GuardRailError, StoreError
from bench.evaluation import predict, score
from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe
from bench.schema.page import EpochPoint
from bench.stats.intervals import mean_interval
from bench.training.checkpoint import Keeper, Resume, State, read_resume, write_resume
from bench.training.fitting import check_fits
from bench.training.loop import TrainSettings, train_model
from bench.training.optim import Stepper, make_stepper
from bench.training.run import epoch_line

CPU = torch.device("cpu")
HALF = replace(QUICK, precision="fp16", epochs=2)
BUSY_HALF = replace(BUSY, precision="fp16", epochs=2)
PLAIN = {"translate": 0, "flip": "none", "cutout": 0}


@pytest.fixture
def t4() -> Iterator[Machine]:
    with pretended("cuda", capability=(7, 5), name="Tesla T4") as machine:
        yield machine


class Every(Keeper):
    """Keeps the state after every step."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def due(self) -> bool:
        return True

    def keep(self, state: State) -> None:
        self.states.append(state)


def train(net: nn.Module, recipe: Recipe, machine: Machine, **options: Any) -> list[EpochPoint]:
    """The curve of a training on 64 images, four steps an epoch, without its times."""
    points: list[EpochPoint] = []
    train_model(
        net, tiny_data(16), TrainSettings(recipe, val=0), device=machine.device, progress=Silence(),
        on_epoch=points.append, **options,
    )  # fmt: skip
    return [replace(point, images_per_second=0) for point in points]


def values(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu().clone() for name, value in net.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- what is rounded ----------------------------------------------------------------------------------------


def test_products_are_fp16_forward_and_backward_and_what_is_kept_is_fp32(t4: Machine) -> None:
    net, seen, keeper = build_seeded(RESIDUAL, 4, 0), [], Every()

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(output.dtype)
        output.register_hook(lambda slope: seen.append(slope.dtype))

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(watch)
    train(net, replace(BUSY_HALF, epochs=1), t4, keeper=keeper)
    assert set(seen) == {torch.float16} and len(seen) >= 2 * 4 * 5
    assert {each.grad.dtype for each in net.parameters() if each.grad is not None} == {torch.float32}
    kept = [*keeper.states[-1].weights.values(), *keeper.states[-1].slow.values()]
    kept += [each for one in keeper.states[-1].optimizer["state"].values() for each in one.values()]
    assert {each.dtype for each in kept if each.is_floating_point()} == {torch.float32}


def test_a_gradient_too_small_for_fp16_arrives_all_the_same(t4: Machine) -> None:
    found = {}
    for precision in ("fp16", "fp32"):
        net = nn.Linear(1, 1, bias=False).to(t4.device)
        nn.init.zeros_(net.weight)
        stepper = Stepper(torch.optim.SGD(net.parameters(), lr=2.0**30, fused=True), t4.device, precision)
        with torch.autocast("cuda", torch.float16):
            answer = net(torch.ones(1, 1, device=t4.device))
        stepper.step(answer.float().sum() * 2.0**-30)
        found[precision] = net.weight.item()
    assert found == {"fp16": -1, "fp32": 0}  # without a scaled loss nothing arrives


def test_a_step_in_fp16_waits_for_nothing(t4: Machine) -> None:
    net = build_seeded(TINY, 4, 0).to(t4.device)
    stepper = make_stepper(net, HALF, t4.device, "fp16")
    images = torch.zeros(2, 3, 32, 32, device=t4.device)
    with t4.counting() as count:
        for _ in range(2):
            with torch.autocast("cuda", torch.float16):
                loss = net(images).float().sum()
            stepper.step(loss)
    assert count.waits == {}


# --- steps that are left out --------------------------------------------------------------------------------


def overflowing(net: nn.Module, *steps: int) -> nn.Module:
    """The net, one of whose gradients is infinite in these steps."""
    done: list[int] = []

    def plant(slope: Tensor) -> Tensor:
        done.append(1)
        return slope * (torch.inf if len(done) - 1 in steps else 1)

    def watch(module: nn.Module, inputs: object, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(plant)

    net.fc.register_forward_hook(watch)
    return net


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("planted", [0, 2, 5])
def test_a_step_that_overflows_changes_nothing_but_the_scale_and_the_schedule_goes_on(
    planted: int, optimizer: str, t4: Machine
) -> None:
    recipe, keeper = replace(HALF, optimizer=optimizer, lr=0.01), Every()
    points = train(overflowing(build_seeded(TINY, 4, 0), planted), recipe, t4, keeper=keeper)
    states = {state.done: state for state in keeper.states}
    before, after = states[planted], states[planted + 1]
    learned = [name for name, _ in build_seeded(TINY, 4, 0).named_parameters()]
    assert all(torch.equal(before.weights[name], after.weights[name]) for name in learned)
    means = [state.optimizer["state"].get(0, {}).get("momentum_buffer") for state in (before, after)]
    assert optimizer == "adamw" or torch.equal(means[0], means[1])
    assert (before.scaler["scale"], after.scaler["scale"]) == (2**16, 2**15)
    assert [point.skipped for point in points] == [int(planted < 4), int(planted >= 4)]
    rates = [states[done].optimizer["param_groups"][0]["lr"] for done in range(1, 9)]
    assert rates == [recipe.learning_rate(step, 8) for step in range(8)]
    assert all(each.isfinite().all() for each in states[8].weights.values())
    assert not torch.equal(states[8].weights["fc.weight"], after.weights["fc.weight"])


def test_a_left_out_step_is_told_with_its_epoch(t4: Machine) -> None:
    points = train(overflowing(build_seeded(TINY, 4, 0), 0, 1, 5), HALF, t4)
    first, second = (epoch_line(point, 2) for point in points)
    assert first.endswith("; 2 steps skipped, because gradients overflowed in fp16")
    assert second.endswith("; 1 step skipped, because gradients overflowed in fp16")
    assert "left out" not in epoch_line(replace(points[0], skipped=0), 2)


def test_a_training_of_left_out_steps_alone_is_stopped(t4: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.training.checks.SKIPS", 4)
    with pytest.raises(GuardRailError, match="all 4 steps of epoch 1 were skipped") as told:
        train(overflowing(build_seeded(TINY, 4, 0), *range(99)), HALF, t4)
    assert told.value.try_ == "--precision fp32"
    assert train(overflowing(build_seeded(TINY, 4, 0), 0, 1, 2), HALF, t4)[0].skipped == 3
    monkeypatch.setattr("bench.training.checks.SKIPS", 5)  # the scale of a short epoch may still be on its way down
    assert train(overflowing(build_seeded(TINY, 4, 0), *range(4)), HALF, t4)[0].skipped == 4


# --- what is learned ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_digits_are_learned_in_fp16_as_well_as_in_fp32(t4: Machine, tmp_path: Path) -> None:
    """Five seeds, each in both precisions: the 95 % interval of the mean difference in test accuracy, by t."""
    data = load_dataset("digits", cache=tmp_path, progress=Silence())
    recipe, right = replace(QUICK, epochs=5, batch_size=64, lr=0.1, translate=1), {"fp32": [], "fp16": []}
    for seed in range(5):
        for precision, found in right.items():
            net, settings = build_seeded(RESIDUAL, 10, seed), TrainSettings(replace(recipe, precision=precision), seed)
            train_model(net, data, settings, device=t4.device, progress=Silence())
            logits, _ = predict(net, data.test.images, (data.mean, data.std), device=t4.device, progress=Silence())
            found.append(score(logits, data.test.labels).accuracy)
    gain = mean_interval([half - whole for half, whole in zip(right["fp16"], right["fp32"], strict=True)])
    assert min(right["fp16"]) > 0.9 and gain is not None
    assert gain.low > -0.02 and gain.high > 0, f"fp16 - fp32: {gain}"  # no worse, and nothing speaks for fp32


# --- going on -----------------------------------------------------------------------------------------------


def test_going_on_from_any_step_gives_the_whole_run_bit_for_bit(t4: Machine, tmp_path: Path) -> None:
    keeper, whole = Every(), overflowing(build_seeded(RESIDUAL, 4, 0), 2)
    points = train(whole, BUSY_HALF, t4, keeper=keeper)
    assert points[0].skipped == 1
    path = write_resume(tmp_path, Resume("this", keeper.states[3], log_bytes=0, threads=1, versions={}))
    for state in (read_resume(path, "this").state, keeper.states[4], keeper.states[6]):
        net = build_seeded(RESIDUAL, 4, 1)
        assert train(net, BUSY_HALF, t4, start=state) == points[state.epoch :]
        assert equal(values(net), values(whole)), state.done
    for state in keeper.states:
        check_fits(state, build_seeded(RESIDUAL, 4, 0), BUSY_HALF, 4, t4.device)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scale": 0.0}, "a loss scaled by 0.0"),
        ({"skipped": 9}, "9 of 3 steps left out"),
        ({"extra": 1}, "a scaled loss of 7 numbers in fp16"),
        (None, "a scaled loss of 0 numbers in fp16"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(changes: dict[str, Any] | None, words: str, t4: Machine) -> None:
    keeper, net = Every(), build_seeded(TINY, 4, 0)
    train(net, HALF, t4, keeper=keeper)
    state = keeper.states[3]
    odd = replace(state, scaler={} if changes is None else {**state.scaler, **changes})
    with pytest.raises(StoreError, match=words):
        check_fits(odd, build_seeded(TINY, 4, 0), HALF, 4, t4.device)

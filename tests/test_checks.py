"""The guard rails: each with a run that plants the mistake."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import QUICK, TINY, TinyNet, tiny_data
from torch import Tensor, nn

from bench.contracts import Dataset, Silence
from bench.errors import ContractError, GuardRailError
from bench.nets.weights import build_seeded
from bench.recipes.recipe import Recipe
from bench.training.checks import check_chance, check_first_loss, check_logits, check_loss, check_net
from bench.training.loop import TrainSettings, train_model

CPU = torch.device("cpu")


def run(net: nn.Module, data: Dataset, settings: TrainSettings) -> None:
    train_model(net, data, settings, device=CPU, progress=Silence())


class Wrapped(nn.Module):
    """The tiny net with something planted behind it."""

    def __init__(self, after: object) -> None:
        super().__init__()
        self.net, self.after = TinyNet(4), after

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.after(self.net(x))  # type: ignore[operator]
        return result


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (lambda logits: logits.softmax(dim=1), "probabilities"),
        (lambda logits: logits.log_softmax(dim=1), "log-probabilities"),
        (lambda logits: logits[:, :3], "one logit for each class"),
        (lambda logits: logits * 300, "first loss"),
        (lambda logits: logits * float("nan"), "nan"),
    ],
)
@pytest.mark.parametrize("recipe", [QUICK, replace(QUICK, precision="bf16", label_smoothing=0.2)], ids=["fp32", "bf16"])
def test_outputs_that_are_no_logits_stop_the_run_before_the_first_step(
    after: object, words: str, recipe: Recipe
) -> None:
    net = Wrapped(after)
    before = {key: value.clone() for key, value in net.named_parameters()}
    with pytest.raises(GuardRailError, match=words):
        run(net, tiny_data(), TrainSettings(recipe))
    assert all(torch.equal(value, before[key]) for key, value in net.named_parameters())


def test_a_loss_that_is_no_cross_entropy_stops_the_run() -> None:
    # G1: nll_loss on raw logits is -logit, unbounded below.
    with pytest.raises(GuardRailError, match="negative"):
        check_loss(nn.functional.nll_loss(torch.tensor([[9.0, 1.0]]), torch.tensor([0])).item(), 0, 0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_when(loss: float) -> None:
    with pytest.raises(GuardRailError, match=r"epoch 3, step 8"):
        check_loss(loss, 2, 7)


def test_a_diverging_run_is_stopped_with_a_hint() -> None:
    with pytest.raises(GuardRailError) as caught:
        run(build_seeded(TINY, 4, 0), tiny_data(), TrainSettings(replace(QUICK, lr=1e30, epochs=4)))
    assert "lr" in caught.value.try_


def test_a_loss_of_nothing_is_a_cross_entropy() -> None:
    """In float32 that of a prediction that is sure enough is 0."""
    check_loss(nn.functional.cross_entropy(torch.tensor([[200.0, 0.0]]), torch.tensor([0])).item(), 0, 0)


@pytest.mark.parametrize(("loss", "classes"), [(1.79, 10), (2.81, 10), (2.3, 100), (math.nan, 10)])
def test_a_first_loss_more_than_half_a_nat_from_ln_k_is_refused(loss: float, classes: int) -> None:
    with pytest.raises(GuardRailError, match="first loss"):
        check_first_loss(loss, classes, warm_start=False)


def test_a_first_loss_near_ln_k_is_right_and_after_a_warm_start_any_is() -> None:
    check_first_loss(0.1, 10, warm_start=True)
    for near in (-0.49, 0.0, 0.49):
        check_first_loss(math.log(10) + near, 10, warm_start=False)


def test_labels_that_mean_nothing_stop_the_run_at_chance_level() -> None:
    data = tiny_data(256)
    shuffled = data.train.labels[torch.randperm(1024, generator=torch.Generator().manual_seed(0))]
    planted = replace(data, train=replace(data.train, labels=shuffled))
    recipe = replace(QUICK, batch_size=8, epochs=4, lr=0.01)  # 512 steps after the fourth epoch
    with pytest.raises(GuardRailError, match="chance level"):
        run(build_seeded(TINY, 4, 0), planted, TrainSettings(recipe, val=0))


def test_chance_level_is_not_judged_before_500_steps_and_spares_a_slow_start() -> None:
    check_chance(100, 1000, 0.1, steps_done=499)
    check_chance(1480, 10_000, 0.1, steps_done=500)  # a healthy run had 14.8 % after its first epoch
    check_chance(140, 1000, 0.1, steps_done=500)  # of a tenth of the images 14 % is still above chance, p = 3e-5
    with pytest.raises(GuardRailError, match="chance level"):
        check_chance(1010, 10_000, 0.1, steps_done=500)


LOGITS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
HONEST = {
    "any": LOGITS,
    "rows that sum to 1, with values below 0": LOGITS - LOGITS.mean(dim=1, keepdim=True) + 1 / 4,
    "none below 0, rows that nearly sum to 1": 1.02 * LOGITS.softmax(dim=1),
    "one row of probabilities": torch.cat([LOGITS[:1].softmax(dim=1), LOGITS[1:].abs()]),
    "rows near log-probabilities": LOGITS.log_softmax(dim=1) + 0.02,
    "one row of log-probabilities": torch.cat([LOGITS[:1].log_softmax(dim=1), LOGITS[1:]]),
}


@pytest.mark.parametrize("logits", HONEST.values(), ids=HONEST)
def test_logits_pass_that_are_like_probabilities_in_one_respect_or_one_row(logits: Tensor) -> None:
    check_logits(logits, 4)


@pytest.mark.parametrize("shape", [(8,), (8, 3), (8, 4, 1), (8, 4, 2, 2)])
def test_a_model_that_gives_anything_but_a_logit_a_class_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GuardRailError, match="one logit for each class"):
        check_logits(torch.ones(shape), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_check_logits_knows_probabilities_in_every_precision(dtype: torch.dtype) -> None:
    logits = 3 * torch.randn(32, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    check_logits(logits, 4)
    for wrong, says in ((logits.softmax(dim=1), "gives probabilities"), (logits.log_softmax(dim=1), "log-prob")):
        with pytest.raises(GuardRailError, match=says):
            check_logits(wrong, 4)


# --- before the first step --------------------------------------------------------------------------------------------


class Odd(TinyNet):
    """The tiny net with something else behind its logits."""

    def __init__(self, answer: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__(4)
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self, super().forward(x))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda net, z: nn.functional.dropout(z, 0.5), "gives random answers"),
        (lambda net, z: z + torch.rand_like(z), "gives random answers"),
        (lambda net, z: z - z.mean(0, keepdim=True), "other logits alone than beside another one"),
        (lambda net, z: z.detach(), "no gradient reaches"),
        (lambda net, z: z[:, :3], r"gives \(2, 3\) for two images"),
        (lambda net, z: {"a": z, "b": z}, "gives a dict with 'a', 'b'"),
        (lambda net, z: z.reshape(3, 3) if net.training else z, "fails on two images in training mode"),
        (lambda net, z: None, "gives a NoneType"),
    ],
)
def test_a_net_that_cannot_be_trained_or_believed_is_refused_before_training(
    answer: Callable[[nn.Module, Tensor], object], words: str
) -> None:
    with pytest.raises(ContractError, match=words) as caught:
        check_net(Odd(answer), 32, 4)
    assert caught.value.try_


class WritesOver(Odd):
    """Scales its images in place, as some nets do that take pixels."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.mul_(2).sub_(0.1))


def test_a_net_that_writes_over_its_images_has_one_answer_to_them() -> None:
    check_net(WritesOver(lambda net, z: z), 32, 4)


def test_a_net_is_tried_without_a_trace_and_frozen_parts_are_fine() -> None:
    net = build_seeded(TINY, 4, 0)
    net.layer3.requires_grad_(False)  # type: ignore[union-attr]
    before, drawn = {key: value.clone() for key, value in net.state_dict().items()}, torch.get_rng_state()
    check_net(net, 32, 4)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn) and net.training
    assert all(each.grad is None for each in net.parameters())
    with pytest.raises(ContractError, match="all are frozen"):
        check_net(net.requires_grad_(False), 32, 4)

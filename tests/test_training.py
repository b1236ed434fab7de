"""The loop and its guard rails: each rail with a run that plants the mistake."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import QUICK, TINY, TinyNet, tiny_data
from torch import Tensor, nn

from bench.augment import normalise
from bench.contracts import Augmentation, Dataset, Silence
from bench.errors import DataError, GuardRailError, UsageError
from bench.recipes import find_recipe
from bench.training import (
    TrainSettings,
    check_chance,
    check_first_loss,
    check_logits,
    check_loss,
    choose_images,
    estimated_seconds,
    make_optimizer,
    set_bn_momentum,
    train_model,
)
from bench.views import EpochPoint
from bench.weights import build_seeded

CPU = torch.device("cpu")


def run(net: nn.Module, data: Dataset, settings: TrainSettings) -> list[EpochPoint]:
    points: list[EpochPoint] = []
    train_model(net, data, settings, device=CPU, progress=Silence(), on_epoch=points.append)
    return points


def test_a_small_net_learns_the_quarters() -> None:
    recipe = replace(QUICK, epochs=6, bn_momentum=0.25)
    points = run(build_seeded(TINY, 4, 0), tiny_data(), TrainSettings(recipe, val=0.25))
    assert points[-1].val_accuracy is not None
    assert points[-1].val_accuracy > 0.9
    assert points[-1].train_loss < points[0].train_loss


def test_two_equal_runs_are_equal_bit_for_bit() -> None:
    nets = [build_seeded(TINY, 4, 3) for _ in range(2)]
    curves = [
        [replace(point, images_per_second=0) for point in run(net, tiny_data(), TrainSettings(QUICK, seed=3))]
        for net in nets
    ]
    assert curves[0] == curves[1]
    assert all(torch.equal(a, b) for a, b in zip(*(net.state_dict().values() for net in nets), strict=True))


def test_another_seed_is_another_run() -> None:
    first, second = (run(build_seeded(TINY, 4, 0), tiny_data(), TrainSettings(QUICK, seed=seed)) for seed in (0, 1))
    assert first[0].train_loss != second[0].train_loss


def test_the_loop_equals_a_plain_reference_without_augmentation() -> None:
    recipe = replace(QUICK, augmentation=Augmentation(0, flip=False, cutout=0))
    data, net, plain = tiny_data(16), build_seeded(TINY, 4, 0), build_seeded(TINY, 4, 0)
    run(net, data, TrainSettings(recipe, val=0))

    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(plain.parameters(), lr=1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    order = torch.Generator().manual_seed(0)
    for step in range(8):
        if step % 4 == 0:
            permutation = torch.randperm(64, generator=order)
        batch = permutation[step % 4 * 16 : step % 4 * 16 + 16]
        optimizer.param_groups[0]["lr"] = recipe.learning_rate(step, 8)
        inputs = normalise(data.train.images[batch], data.mean, data.std).contiguous(memory_format=torch.channels_last)
        loss = nn.functional.cross_entropy(plain(inputs), data.train.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), plain.state_dict().values(), strict=True))


def test_training_never_looks_at_the_test_split() -> None:
    data = tiny_data()
    broken = replace(data, test=replace(data.test, images=torch.zeros(0, 3, 32, 32, dtype=torch.uint8)))
    assert run(build_seeded(TINY, 4, 0), broken, TrainSettings(QUICK))


def test_a_validation_split_is_not_trained_on() -> None:
    train, val = choose_images(tiny_data(), TrainSettings(QUICK, val=0.25))
    assert not set(train.tolist()) & set(val.tolist())
    assert len(train) + len(val) == 256
    assert tiny_data().train.labels[val].bincount().tolist() == [16] * 4


def test_without_a_validation_split_everything_is_trained_on_and_no_figure_is_made_up() -> None:
    train, val = choose_images(tiny_data(), TrainSettings(QUICK, val=0))
    assert (len(train), len(val)) == (256, 0)
    point = run(build_seeded(TINY, 4, 0), tiny_data(), TrainSettings(QUICK, val=0))[0]
    assert point.val_loss is point.val_accuracy is None


def test_a_limit_is_balanced_by_class_and_seeded() -> None:
    data = tiny_data()
    chosen = [choose_images(data, TrainSettings(QUICK, val=0, limit=40, seed=seed))[0] for seed in (0, 0, 1)]
    assert data.train.labels[chosen[0]].bincount().tolist() == [10] * 4
    assert torch.equal(chosen[0], chosen[1])
    assert not torch.equal(chosen[0], chosen[2])


def test_flips_obey_the_data_set() -> None:
    flipping = replace(QUICK, augmentation=Augmentation(0, flip=True, cutout=0))
    plain = replace(QUICK, augmentation=Augmentation(0, flip=False, cutout=0))
    data = tiny_data()  # digits-like: a mirrored image is of another class
    kept, same = (run(build_seeded(TINY, 4, 0), data, TrainSettings(one)) for one in (flipping, plain))
    assert kept[0].train_loss == same[0].train_loss
    mirrored = run(build_seeded(TINY, 4, 0), replace(data, mirror=True), TrainSettings(flipping))
    assert mirrored[0].train_loss != kept[0].train_loss


# --- guard rails --------------------------------------------------------------------------------------------


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
        (lambda logits: logits[:, :3], "one logit a class"),
        (lambda logits: logits * 300, "first loss"),
        (lambda logits: logits * float("nan"), "nan"),
    ],
)
def test_outputs_that_are_no_logits_stop_the_run_before_the_first_step(after: object, words: str) -> None:
    with pytest.raises(GuardRailError, match=words):
        run(Wrapped(after), tiny_data(), TrainSettings(QUICK))


def test_a_loss_that_is_no_cross_entropy_stops_the_run() -> None:
    # G1: nll_loss on raw logits is -logit, unbounded below.
    logits = torch.tensor([[9.0, 1.0]])
    with pytest.raises(GuardRailError, match="negative"):
        check_loss(nn.functional.nll_loss(logits, torch.tensor([0])).item(), 0, 0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_when(loss: float) -> None:
    with pytest.raises(GuardRailError, match=r"epoch 3, step 8"):
        check_loss(loss, 2, 7)


def test_a_diverging_run_is_stopped_with_a_hint() -> None:
    with pytest.raises(GuardRailError) as caught:
        run(build_seeded(TINY, 4, 0), tiny_data(), TrainSettings(replace(QUICK, lr=1e30, epochs=4)))
    assert "lr" in caught.value.try_


@pytest.mark.parametrize(("loss", "classes"), [(1.7, 10), (2.9, 10), (2.3, 100), (math.nan, 10)])
def test_a_first_loss_far_from_ln_k_is_refused(loss: float, classes: int) -> None:
    with pytest.raises(GuardRailError, match="first loss"):
        check_first_loss(loss, classes, warm_start=False)


def test_a_first_loss_says_nothing_after_a_warm_start() -> None:
    check_first_loss(0.1, 10, warm_start=True)
    check_first_loss(math.log(10), 10, warm_start=False)


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
    with pytest.raises(GuardRailError, match="chance level"):
        check_chance(1010, 10_000, 0.1, steps_done=500)


def test_fewer_images_than_a_batch_is_an_error_with_a_batch_size_that_works() -> None:
    with pytest.raises(DataError, match="fewer than a batch of 64") as caught:
        run(build_seeded(TINY, 4, 0), tiny_data(8), TrainSettings(replace(QUICK, batch_size=64)))
    assert "--batch-size" in caught.value.try_


@pytest.mark.parametrize("settings", [{"val": 1.0}, {"val": -0.1}, {"limit": 0}, {"seed": -1}])
def test_settings_that_leave_nothing_to_train_on_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        TrainSettings(QUICK, **settings)  # type: ignore[arg-type]


def test_check_logits_lets_logits_pass() -> None:
    check_logits(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), 4)


def test_the_recipe_sets_optimizer_and_batch_norms() -> None:
    net = TinyNet(4)
    set_bn_momentum(net, 0.25)
    assert {module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm2d)} == {0.25}
    group = make_optimizer(net, find_recipe("course"), fused=False).param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
    assert isinstance(make_optimizer(net, replace(QUICK, optimizer="adamw"), fused=False), torch.optim.AdamW)


def test_the_estimate_is_work_over_rate() -> None:
    assert estimated_seconds(1e9, 1000, QUICK, rate=1e11) == pytest.approx(1000 * 2 * 3e9 / 7e10)


def test_memory_is_not_kept_between_epochs() -> None:
    # G27: a list of live losses would keep every graph.
    import gc

    run(build_seeded(TINY, 4, 0), tiny_data(), TrainSettings(QUICK))
    gc.collect()
    attached = [each for each in gc.get_objects() if isinstance(each, Tensor) and each.grad_fn is not None]
    assert not attached

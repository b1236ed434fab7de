"""The loop against the same loop written out, and what may not change it."""

from dataclasses import replace

import pytest
import torch
from held import new_tensors
from pretended import pretended
from tiny import BUSY, QUICK, RESIDUAL, TINY, TinyNet, tiny_data
from torch import Tensor, nn

from bench.contracts import Dataset, Silence
from bench.data.transforms import augment, fill_colour, normalise, prepare
from bench.errors import DataError, UsageError
from bench.memory import Room
from bench.nets.weights import build_seeded
from bench.schema.page import EpochPoint
from bench.training.checkpoint import Keeper, State
from bench.training.init import initialise
from bench.training.loop import TrainSettings, choose_images, train_model, validate

CPU = torch.device("cpu")
FLAT = {"translate": 0, "flip": "none", "cutout": 0}


def run(net: nn.Module, data: Dataset, settings: TrainSettings) -> list[EpochPoint]:
    points: list[EpochPoint] = []
    train_model(net, data, settings, device=CPU, progress=Silence(), on_epoch=points.append)
    return points


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_small_net_learns_the_quarters() -> None:
    recipe = replace(QUICK, epochs=6, bn_momentum=0.25)
    points = run(build_seeded(TINY, 4, 0), tiny_data(), TrainSettings(recipe, val=0.25))
    assert points[-1].val_accuracy > 0.9 and points[-1].train_loss < points[0].train_loss


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_equal_runs_are_equal_bit_for_bit_and_another_seed_is_another_run(precision: str) -> None:
    data, recipe = replace(tiny_data(16), mirror=True), replace(BUSY, precision=precision)
    nets = [build_seeded(RESIDUAL, 4, 3) for _ in range(3)]
    curves = [
        [replace(point, images_per_second=0) for point in run(net, data, TrainSettings(recipe, seed=seed, val=0.25))]
        for net, seed in zip(nets, (3, 3, 4), strict=True)
    ]
    assert curves[0] == curves[1] and same_weights(nets[0], nets[1])
    assert curves[0][0].train_loss != curves[2][0].train_loss


def test_the_loop_equals_a_plain_reference_without_augmentation() -> None:
    recipe = replace(QUICK, **FLAT)
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
    assert same_weights(net, plain)


# What the optimiser's groups of the residual net are, by name.
BIASES = {"layer3.1.bias", "layer4.1.bias", "layer4.3.bn1.bias", "layer4.3.bn2.bias"}
SCALES = {"layer3.1.weight", "layer4.1.weight", "layer4.3.bn1.weight", "layer4.3.bn2.weight"}


def train_by_hand(net: nn.Module, data: Dataset, seed: int) -> None:
    """BUSY with its values written out: 64 images, 4 epochs of 4 steps."""
    images, labels = data.train.images, data.train.labels
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    initialise(net, BUSY, images, (data.mean, data.std))  # its own tests are in test_optim
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.4
    named = dict(net.named_parameters())
    optimizer = torch.optim.SGD(
        [
            {"params": [named[name] for name in named if name not in BIASES | SCALES]},
            {"params": [named[name] for name in named if name in BIASES], "weight_decay": 1e-3 / 8},
            {"params": [named[name] for name in named if name in SCALES], "weight_decay": 0},
        ],
        lr=1,
        momentum=0.85,
        nesterov=True,
        weight_decay=1e-3,
        fused=True,
    )
    slow = {key: value.clone() for key, value in net.state_dict().items() if value.is_floating_point()}
    order, pixels = (torch.Generator().manual_seed(each) for each in (seed, seed + 1))
    turned = torch.randint(2, (64,), generator=torch.Generator().manual_seed(seed + 2))
    net.train()
    for step in range(16):
        epoch = step // 4
        if step % 4 == 0:
            permutation = torch.randperm(64, generator=order)
        batch = permutation[step % 4 * 16 : step % 4 * 16 + 16]
        mirrored = turned[batch] if epoch % 2 == 0 else 1 - turned[batch]
        seen = augment(
            images[batch], BUSY.augmentation, fill=fill_colour(data.mean), generator=pixels, mirrored=mirrored
        )
        inputs = normalise(seen, data.mean, data.std).contiguous(memory_format=torch.channels_last)
        edge = (16, 16, 24, 32)[epoch]
        if edge < 32:
            inputs = nn.functional.interpolate(inputs, size=(edge, edge), mode="bilinear", antialias=True)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        rate = 0.02 * (0.25 + 0.75 * (step / 16) / 0.25 if step < 4 else 0.125 + 0.875 * (1 - step / 16) / 0.75)
        for group, scale in zip(optimizer.param_groups, (1, 8, 1), strict=True):
            group["lr"] = rate * scale
        loss = nn.functional.cross_entropy(net(inputs), labels[batch], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = step + 1
        kept = {5: 0, 10: 0.95**5 * (10 / 16) ** 3, 15: 0.95**5 * (15 / 16) ** 3, 16: 0.95}.get(done)
        if kept is not None:
            for key, value in net.state_dict().items():
                if value.is_floating_point():
                    value.copy_(slow[key].lerp_(value, 1 - kept))


@pytest.mark.parametrize("seed", [0, 3])
def test_the_loop_with_all_ingredients_equals_a_plain_reference(seed: int) -> None:
    data, net, plain = replace(tiny_data(16), mirror=True), build_seeded(RESIDUAL, 4, 0), build_seeded(RESIDUAL, 4, 0)
    run(net, data, TrainSettings(BUSY, seed=seed, val=0))
    train_by_hand(plain, data, seed)
    different = [key for key, value in plain.state_dict().items() if not torch.equal(value, net.state_dict()[key])]
    assert not different


CHANGES: dict[str, object] = {
    "norm_decay": True, "bias_scale": 1.0, "label_smoothing": 0.0, "lookahead": 0, "whiten": False, "zero_init": False,
    "sizes": (), "precision": "bf16", "lr_end": 0.0, "bn_momentum": 0.1,
    "flip": "random", "translate": 0, "cutout": 0,
}  # fmt: skip


def test_a_training_shorter_than_a_look_of_the_slow_weights_keeps_what_it_learned() -> None:
    data, net, other = tiny_data(16), build_seeded(RESIDUAL, 4, 0), build_seeded(RESIDUAL, 4, 0)
    for model, every in ((net, 9), (other, 0)):
        run(model, data, TrainSettings(replace(BUSY, epochs=1, lookahead=every), val=0))  # 4 steps
    assert same_weights(net, other)


@pytest.mark.parametrize("name", CHANGES)
def test_every_ingredient_changes_the_training(name: str) -> None:
    data, net, other = replace(tiny_data(16), mirror=True), build_seeded(RESIDUAL, 4, 0), build_seeded(RESIDUAL, 4, 0)
    run(net, data, TrainSettings(replace(BUSY, epochs=2), val=0))
    run(other, data, TrainSettings(replace(BUSY, epochs=2, **{name: CHANGES[name]}), val=0))  # type: ignore[arg-type]
    assert not same_weights(net, other)


def test_the_loss_of_the_curve_is_that_of_the_labels_and_what_is_trained_on_the_smoothed_one() -> None:
    recipe = replace(
        QUICK, epochs=1, batch_size=64, optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=0.5, lr_start=1.0,
        label_smoothing=0.2, **FLAT,
    )  # fmt: skip
    data, net, plain = tiny_data(16), build_seeded(TINY, 4, 0), build_seeded(TINY, 4, 0)
    point = run(net, data, TrainSettings(recipe, val=0))[0]
    logs = plain.train()(normalise(data.train.images, data.mean, data.std)).log_softmax(dim=1)
    right = logs[torch.arange(64), data.train.labels]
    assert point.train_loss == pytest.approx(-right.mean().item(), abs=1e-5)
    smoothed = -(0.8 * right + 0.2 * logs.mean(dim=1)).mean()
    assert smoothed.item() != pytest.approx(-right.mean().item(), abs=1e-3)
    smoothed.backward()  # type: ignore[no-untyped-call]
    stepped = plain.fc.weight - 0.5 * plain.fc.weight.grad  # one step of plain gradient descent
    assert torch.allclose(net.fc.weight, stepped, atol=1e-6)


def test_weights_that_were_loaded_are_not_initialised_again() -> None:
    recipe = replace(BUSY, lr=0.0, lookahead=0, weight_decay=0.0, epochs=1)
    net, before = build_seeded(RESIDUAL, 4, 0), build_seeded(RESIDUAL, 4, 0)
    run(net, tiny_data(16), TrainSettings(recipe, val=0, warm_start=True))
    assert all(map(torch.equal, net.parameters(), before.parameters()))
    run(net, tiny_data(16), TrainSettings(recipe, val=0))
    assert not torch.equal(net.layer3[0].weight, before.layer3[0].weight)


# --- precision and memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_bf16_keeps_weights_statistics_and_the_optimisers_state_in_fp32(optimizer: str) -> None:
    class Last(Keeper):
        def keep(self, state: State) -> None:
            self.state = state

    recipe, keeper, net = replace(BUSY, precision="bf16", optimizer=optimizer), Last(), build_seeded(RESIDUAL, 4, 0)
    train_model(net, tiny_data(16), TrainSettings(recipe, val=0), device=CPU, progress=Silence(), keeper=keeper)
    kept = [*keeper.state.weights.values(), *keeper.state.slow.values()]
    kept += [each for one in keeper.state.optimizer["state"].values() for each in one.values() if each is not None]
    assert {each.dtype for each in kept if each.is_floating_point()} == {torch.float32}
    assert len(keeper.state.optimizer["state"]) == len(list(net.parameters()))
    # Weights that had passed through bf16 would have 16 zero bits at their end.
    assert any((each.view(torch.int32) & 0xFFFF).any() for each in net.parameters())


def test_the_model_computes_in_bf16_and_the_loss_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    net = build_seeded(TINY, 4, 0)
    net.fc.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    entropy = nn.functional.cross_entropy

    def watched(logits: Tensor, *rest: object, **named: object) -> Tensor:
        seen.append(logits.dtype)
        return entropy(logits, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(nn.functional, "cross_entropy", watched)
    run(net, tiny_data(16), TrainSettings(replace(QUICK, epochs=1, precision="bf16"), val=0))
    assert seen == [torch.bfloat16, torch.float32] * 4


def test_reused_memory_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    nets = [build_seeded(RESIDUAL, 4, 0) for _ in range(2)]
    run(nets[0], tiny_data(16), TrainSettings(BUSY, val=0))
    asked: list[torch.device] = []
    monkeypatch.setattr("bench.nets.weights.reuse_memory", asked.append)
    run(nets[1], tiny_data(16), TrainSettings(BUSY, val=0))
    assert asked == [CPU] and same_weights(*nets)


def test_how_fast_it_was_is_given_back() -> None:
    net = build_seeded(TINY, 4, 0)
    speed = train_model(net, tiny_data(16), TrainSettings(QUICK, val=0), device=CPU, progress=Silence())
    assert speed.images_per_second > 0 and speed.compile_seconds is None


# --- what is trained on -------------------------------------------------------------------------------------


def test_training_never_looks_at_the_test_split() -> None:
    data = tiny_data()
    broken = replace(data, test=replace(data.test, images=torch.zeros(0, 3, 32, 32, dtype=torch.uint8)))
    assert run(build_seeded(TINY, 4, 0), broken, TrainSettings(QUICK))


def test_a_validation_split_is_not_trained_on() -> None:
    train, val = choose_images(tiny_data(), TrainSettings(QUICK, val=0.25))
    assert not set(train.tolist()) & set(val.tolist()) and len(train) + len(val) == 256
    assert tiny_data().train.labels[val].bincount().tolist() == [16] * 4


def test_validation_is_in_the_precision_of_the_training() -> None:
    data, net = tiny_data(16), build_seeded(TINY, 4, 0)
    settings = TrainSettings(replace(QUICK, precision="bf16"), val=0.25)
    point = run(net, data, settings)[-1]
    apart, losses = choose_images(data, settings)[1], []
    for narrow in (True, False):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            logits = net.eval()(prepare(data.train.images[apart], (data.mean, data.std))).float()
        losses.append(nn.functional.cross_entropy(logits.double(), data.train.labels[apart]).item())
    assert point.val_loss == pytest.approx(losses[0], rel=1e-6) and point.val_loss != pytest.approx(losses[1], rel=1e-6)


def test_on_a_device_validation_takes_2000_images_at_once_and_waits_once() -> None:
    net, sizes, data = build_seeded(TINY, 4, 0).train(), [], tiny_data(1)
    net.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    images, labels = torch.zeros(2500, 3, 8, 8, dtype=torch.uint8), torch.zeros(2500, dtype=torch.int64)
    with pretended("cuda") as machine:
        there = images.to(machine.device)
        net.to(machine.device)
        with machine.counting() as count:
            statistics = (data.mean, data.std)
            loss, _ = validate(net, there, labels, statistics=statistics, precision="bf16", room=Room(Silence()))
    assert sizes == [2000, 500] and sum(count.waits.values()) == 1 and loss > 0 and net.training


def test_without_a_validation_split_everything_is_trained_on_and_no_figure_is_made_up() -> None:
    assert [len(part) for part in choose_images(tiny_data(), TrainSettings(QUICK, val=0))] == [256, 0]
    point = run(build_seeded(TINY, 4, 0), tiny_data(), TrainSettings(QUICK, val=0))[0]
    assert point.val_loss is point.val_accuracy is None


def test_a_limit_is_balanced_by_class_and_seeded() -> None:
    data = tiny_data()
    chosen = [choose_images(data, TrainSettings(QUICK, val=0, limit=40, seed=seed))[0] for seed in (0, 0, 1)]
    assert data.train.labels[chosen[0]].bincount().tolist() == [10] * 4
    assert torch.equal(chosen[0], chosen[1]) and not torch.equal(chosen[0], chosen[2])


def test_flips_obey_the_data_set() -> None:
    flipping = replace(QUICK, **{**FLAT, "flip": "random"})
    data = tiny_data()  # digits-like: a mirrored image is of another class
    tried = ((data, flipping), (data, replace(QUICK, **FLAT)), (replace(data, mirror=True), flipping))
    kept, plain, mirrored = (run(build_seeded(TINY, 4, 0), some, TrainSettings(recipe)) for some, recipe in tried)
    assert kept[0].train_loss == plain[0].train_loss != mirrored[0].train_loss


def test_fewer_images_than_a_batch_is_an_error_with_a_batch_size_that_works() -> None:
    with pytest.raises(DataError, match="fewer than a batch of 64") as caught:
        run(build_seeded(TINY, 4, 0), tiny_data(8), TrainSettings(replace(QUICK, batch_size=64)))
    assert "--batch-size" in caught.value.try_


@pytest.mark.parametrize("settings", [{"val": 1.0}, {"val": -0.1}, {"limit": 0}, {"seed": -1}])
def test_settings_that_leave_nothing_to_train_on_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        TrainSettings(QUICK, **settings)  # type: ignore[arg-type]


class Hoarding(TinyNet):
    """Keeps what it gave, as a list of live losses would."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.given: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        self.given.append(logits)
        return logits


@pytest.mark.parametrize(("kind", "flat"), [(TinyNet, True), (Hoarding, False)], ids=["flat", "planted"])
def test_memory_is_not_kept_between_epochs(kind: type[TinyNet], flat: bool) -> None:
    # G27: a list of live losses would keep every graph. Tensors are counted, since the C library keeps freed memory.
    sizes: list[int] = []
    net, data, settings = kind(4), tiny_data(), TrainSettings(replace(BUSY, zero_init=False))
    with new_tensors() as held:

        def weigh(point: EpochPoint) -> None:
            sizes.append(sum(each.untyped_storage().nbytes() for each in held()))

        train_model(net, data, settings, device=CPU, progress=Silence(), on_epoch=weigh)
        graphs = sum(each.grad_fn is not None for each in held())
    assert (len(sizes), max(sizes[1:]) <= sizes[0], graphs == 0) == (4, flat, flat)

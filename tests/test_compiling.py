"""`--compile`: the model stays as it is, and training through the compiler ends where the plain one does."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import call
from listening import Listener
from pretended import pretended
from tiny import BUSY, QUICK, RESIDUAL, TINY, tiny_data
from torch import Tensor, nn

from bench.contracts import ModelSpec, Silence
from bench.errors import UsageError
from bench.nets.weights import build_seeded
from bench.recipes.recipe import RECIPES
from bench.registry.registry import discover
from bench.training.checkpoint import copied
from bench.training.compiling import compiled, compiling_pays
from bench.training.loop import TrainingSpeed, TrainSettings, train_model

CPU = torch.device("cpu")
SHAPES = [(16, 3, 16, 16), (16, 3, 32, 32)]
needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, called c++")


class Drawing(nn.Module):
    """Draws from PyTorch's own generator while it trains, and counts what batch norms see."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 4)."""
        seen = nn.functional.dropout(self.norm(self.conv(x)), 0.5, self.training)
        logits: Tensor = self.fc(seen.mean(dim=(2, 3)))
        return logits


def snapshot(model: nn.Module) -> tuple[dict[str, Tensor], Tensor, list[bool]]:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    return state, torch.get_rng_state(), [each.training for each in model.modules()]


def assert_untouched(model: nn.Module, before: tuple[dict[str, Tensor], Tensor, list[bool]]) -> None:
    after = snapshot(model)
    assert all(torch.equal(after[0][key], value) for key, value in before[0].items())
    assert torch.equal(after[1], before[1]) and after[2] == before[2]
    assert all(each.grad is None for each in model.parameters())


@pytest.fixture
def as_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that gives the model itself."""

    def same(model: nn.Module, **options: object) -> nn.Module:
        assert options == {"dynamic": False, "mode": None}
        return model

    monkeypatch.setattr(torch, "compile", same)


@pytest.mark.usefixtures("as_is")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_running_statistics_flags_and_random_numbers_stay(precision: str) -> None:
    model = Drawing()
    model.norm.eval()
    before = snapshot(model)
    _, seconds = compiled(model, SHAPES, CPU, precision=precision)
    assert_untouched(model, before)
    assert seconds > 0
    model.train()(torch.zeros(2, 3, 8, 8))
    assert not torch.equal(model.norm.running_mean, before[0]["norm.running_mean"])  # they would have moved


@pytest.mark.usefixtures("as_is")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_shape_is_run_as_in_training(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = Drawing(), []
    forward = Drawing.forward

    def watched(self: Drawing, x: Tensor) -> Tensor:
        seen.append((tuple(x.shape), self.training, torch.is_autocast_enabled("cpu")))
        assert x.is_contiguous(memory_format=torch.channels_last)
        return forward(self, x)

    monkeypatch.setattr(Drawing, "forward", watched)
    compiled(model.eval(), SHAPES, CPU, precision=precision)
    assert seen == [(shape, True, precision == "bf16") for shape in SHAPES]


@pytest.mark.parametrize(("graphs", "mode", "calls"), [(True, "reduce-overhead", 3), (False, None, 1)])
def test_on_a_gpu_every_graph_is_recorded_ahead(
    graphs: bool, mode: str | None, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def watched(model: nn.Module, **options: object) -> Callable[[Tensor], Tensor]:
        seen.append(options)
        return lambda x: (seen.append(tuple(x.shape)), model(x))[1]

    monkeypatch.setattr(torch, "compile", watched)
    with pretended("cuda") as machine:
        model = Drawing().to(machine.device)
        before = copied(dict(model.state_dict()))
        compiled(model, SHAPES, machine.device, precision="fp32", graphs=graphs)
        after = copied(dict(model.state_dict()))
    assert seen == [{"dynamic": False, "mode": mode}, *[SHAPES[0]] * calls, *[SHAPES[1]] * calls]
    assert all(torch.equal(value, before[key]) for key, value in after.items())


def at_once(model: nn.Module, **options: object) -> nn.Module:
    raise RuntimeError("no compiler here\nand a long trace")


def at_the_first_batch(model: nn.Module, **options: object) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        model(x)
        return at_once(model)(x)  # type: ignore[no-any-return]

    return forward


@pytest.mark.parametrize("compiler", [at_once, at_the_first_batch])
def test_a_machine_that_cannot_compile_is_told_so_and_the_model_stays(
    compiler: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", compiler)
    model = Drawing()
    before = snapshot(model)
    with pytest.raises(
        UsageError, match=r"--compile: this machine cannot compile the model: no compiler here$"
    ) as told:
        compiled(model, SHAPES, CPU, precision="fp32")
    assert told.value.try_ == "--no-compile"
    assert_untouched(model, before)


def trained(*, compile: bool, lr: float = BUSY.lr) -> tuple[dict[str, Tensor], TrainingSpeed]:
    # Two sizes, so that two shapes are compiled; no mirroring, so that the test says nothing about turns.
    recipe = replace(BUSY, epochs=2, sizes=((16, 0.5),), lr=lr)
    model = build_seeded(RESIDUAL, 4, 0)
    settings = TrainSettings(recipe, val=0, compile=compile)
    speed = train_model(model, tiny_data(16), settings, device=CPU, progress=Silence())
    return model.state_dict(), speed


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of a weight, as a share of the largest weight of its tensor."""
    return max(
        float((one[key] - other[key]).abs().max() / one[key].abs().max()) for key in one if one[key].is_floating_point()
    )


@pytest.mark.usefixtures("as_is")
def test_a_training_through_a_compiler_that_changes_nothing_is_the_plain_one_bit_for_bit() -> None:
    (plain, slow), (same, fast) = trained(compile=False), trained(compile=True)
    assert furthest(plain, same) == 0 and slow.compile_seconds is None and fast.compile_seconds > 0


@pytest.mark.slow
@needs_compiler
def test_a_compiled_training_ends_within_rounding_of_the_plain_one() -> None:
    """The compiler only sums in another order, which is good for about 1e-6 a step; eight steps may add that up.

    1e-4 leaves room for that, and is far below what any other training is away: a rate of a hundredth more already is.
    """
    (plain, _), (same, speed), (other, _) = (
        trained(compile=False),
        trained(compile=True),
        trained(compile=False, lr=BUSY.lr * 1.01),
    )
    assert 0 <= furthest(plain, same) < 1e-4 and furthest(plain, other) > 1e-3
    assert speed.compile_seconds > 0 and speed.images_per_second is not None


# --- where nobody said whether to ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "images", "pays"),
    [
        ({}, 50_000, True),
        ({}, 10_000, False),  # eleven minutes on two cores
        ({"epochs": 4}, 50_000, False),
        ({"precision": "fp32"}, 50_000, False),  # there it gained nothing
        ({"sizes": ((16, 0.5),), "epochs": 16}, 50_000, False),  # two shapes, and half of the epochs at a quarter
        ({"sizes": ((16, 0.5),), "epochs": 40}, 50_000, True),
    ],
)
def test_compiling_pays_in_long_trainings_in_bf16_on_a_cpu(changes: dict[str, Any], images: int, pays: bool) -> None:
    net = build_seeded(discover("model", ModelSpec)["cifar_resnet18"], 10, 0)
    recipe = RECIPES["course"].changed({"precision": "bf16", **changes})
    assert compiling_pays(net, recipe, images, 32, CPU) is pays
    assert not compiling_pays(net, recipe, images, 32, torch.device("meta"))


@pytest.mark.parametrize(("asked", "calls"), [(None, 1), (False, 0), (True, 1)])
def test_it_is_compiled_where_that_pays_unless_somebody_said_no(
    asked: bool | None, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: made.append(model) or model)
    monkeypatch.setattr("bench.training.compiling.PAYS", 0.0)
    progress = Listener()
    net, recipe = build_seeded(TINY, 4, 0), replace(QUICK, precision="bf16")
    train_model(net, tiny_data(16), TrainSettings(recipe, val=0, compile=asked), device=CPU, progress=progress)
    assert made == [net] * calls
    assert [words for words in progress.said if "compiling first" in words and "--no-compile" in words] == (
        progress.said if asked is None else []
    )


def test_a_training_that_would_gain_goes_on_where_nothing_can_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", at_once)
    monkeypatch.setattr("bench.training.compiling.PAYS", 0.0)
    progress = Listener()
    nets = [build_seeded(TINY, 4, 0) for _ in range(2)]
    for net, asked in zip(nets, (None, False), strict=True):
        settings = TrainSettings(replace(QUICK, precision="bf16"), val=0, compile=asked)
        speed = train_model(net, tiny_data(16), settings, device=CPU, progress=progress)
        assert speed.compile_seconds is None
    assert progress.warned == ["this machine cannot compile the model: no compiler here; it is trained as it is"]
    for own, other in zip(*(each.state_dict().values() for each in nets), strict=True):
        assert torch.equal(own, other)


# --- what is said of the time -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "can", "steps", "code"),
    [
        ("--compile", True, [True], 0),
        ("--compile", False, [True], 2),  # told before anything begins
        ("--no-compile", True, [False], 0),
        ("--epochs=2", True, [True], 0),  # nobody said whether to
        ("--epochs=2", False, [True, False], 0),
    ],
)
def test_the_time_of_a_training_is_that_of_the_steps_it_will_take(
    option: str, *, can: bool, steps: list[bool], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []

    def timed(*_: object, compile_first: bool = False, **__: object) -> float:
        taken.append(compile_first)
        if compile_first and not can:
            raise UsageError("--compile: this machine cannot compile the model", try_="--no-compile")
        return 40.0

    monkeypatch.setattr("bench.commands.train.training_seconds", timed)
    monkeypatch.setattr("bench.training.compiling.PAYS", 0.0)
    words = ("train", "--data", "digits", "--recipe", "demo", "--precision", "bf16", "--device", "cpu", "--dry-run")
    done = call(*words, option, runs=tmp_path)
    assert (done.exit_code, taken) == (code, steps), done.output

"""`--compile`: the model stays as it is, and training through the compiler ends where the plain one does."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pretended import pretended
from tiny import BUSY, RESIDUAL, tiny_data
from torch import Tensor, nn

from bench.contracts import Silence
from bench.errors import UsageError
from bench.nets.weights import build_seeded
from bench.training.checkpoint import copied
from bench.training.loop import TrainingSpeed, TrainSettings, compiled, train_model

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


@pytest.mark.parametrize(
    ("graphs", "mode", "calls"), [(True, "max-autotune", 3), (False, "max-autotune-no-cudagraphs", 1)]
)
def test_on_a_gpu_kernels_are_tried_and_every_graph_is_recorded_ahead(
    graphs: bool, mode: str, calls: int, monkeypatch: pytest.MonkeyPatch
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

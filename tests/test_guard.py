"""The guard names every planted mistake, puts back what it can, and lets nothing else through."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from pretended import pretended
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from bench.contracts import ExplainerSpec
from bench.errors import ContractError
from bench.explaining.guard import guarded, statuses
from bench.explaining.side_effects import Values, changes, watch
from bench.schema.run import STATUSES

IMAGES = torch.rand(2, 3, 8, 8)
TARGETS = torch.tensor([[0, 1], [1, 0]])
Mistake = Callable[[nn.Module, Tensor, Tensor], object]


def called(explain: ExplainerSpec, model: nn.Module | None = None, *layers: str) -> dict[str, Tensor]:
    """The maps of one call under the guard."""
    return guarded(explain, model or small(), list(layers) or ["0"], IMAGES, TARGETS)


def small() -> nn.Module:
    """Frozen but for its head, in eval mode; one norm, one in-place ReLU."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 2))
    return model.eval()


def doing(mistake: Mistake, **fields: object) -> ExplainerSpec:
    """An explainer that gives good maps and makes one mistake."""

    def explain(model: nn.Module, layers: list[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        mistake(model, images, targets)
        return {layer: torch.ones(len(images), targets.shape[1], 4, 4, dtype=images.dtype) for layer in layers}

    return ExplainerSpec(**{"name": "planted", "explain": explain, "source": "a test", "backend": "none", **fields})


def giving(raw: object, **fields: object) -> ExplainerSpec:
    """An explainer that does nothing and gives this."""
    return ExplainerSpec("planted", lambda *args: raw, "a test", "none", **fields)


def changed_switch(key: str, value: object, part: int) -> Mistake:
    return lambda model, images, targets: setattr(model[part], key, value)


MISTAKES: dict[str, tuple[Mistake, str]] = {
    "train mode": (lambda m, x, t: m.train(), "left training = True in the model, 0 and 4 more"),
    "one module in train mode": (changed_switch("training", True, 1), "left training = True in 1"),
    "inplace": (changed_switch("inplace", False, 2), "left inplace = False in 2"),
    "forward hook": (lambda m, x, t: m[0].register_forward_hook(print), "left a forward hook on 0"),
    "hook on the model": (lambda m, x, t: m.register_forward_hook(print), "left a forward hook on the model"),
    "pre-hook": (lambda m, x, t: m[0].register_forward_pre_hook(print), "left a forward pre-hook on 0"),
    "backward hook": (lambda m, x, t: m[0].register_full_backward_hook(print), "left a backward hook on 0"),
    "backward pre-hook": (lambda m, x, t: m[0].register_full_backward_pre_hook(print), "left a backward pre-hook on 0"),
    "hook on every module": (lambda m, x, t: register_module_forward_hook(int), "left a forward hook on every module"),
    "hook on a parameter": (lambda m, x, t: m[4].bias.register_hook(print), "left a gradient hook on 4.bias"),
    "gradients": (lambda m, x, t: m(x).sum().backward(), "changed the .grad of 0.weight, 0.bias and 4 more"),
    "requires_grad": (lambda m, x, t: m[0].requires_grad_(False), "changed requires_grad of 0.weight, 0.bias"),
    "buffer in place": (lambda m, x, t: m[1].running_mean.add_(1), "changed buffer 1.running_mean"),
    "buffer through .data": (lambda m, x, t: m[1].running_var.data.mul_(2), "changed buffer 1.running_var"),
    "buffer replaced": (lambda m, x, t: setattr(m[1], "running_mean", torch.ones(4)), "changed buffer 1.running_mean"),
    "batch statistics": (
        lambda m, x, t: (m.train(), m(x), m.eval()),
        "changed buffer 1.running_mean, 1.running_var and 1",
    ),
    "module replaced": (lambda m, x, t: m.__setitem__(2, nn.ReLU()), "changed module 2"),
    "module added": (lambda m, x, t: m.add_module("probe", nn.Identity()), "changed module probe"),
    "parameter replaced": (
        lambda m, x, t: setattr(m[4], "bias", nn.Parameter(torch.ones(2))),
        "changed parameter 4.bias",
    ),
    "forward replaced": (lambda m, x, t: setattr(m[0], "forward", m[0].forward), "replaced the forward of 0"),
    "torch's generator": (lambda m, x, t: torch.rand(1), "drew from torch's global generator"),
    "numpy's generator": (lambda m, x, t: np.random.rand(), "drew from numpy's global generator"),  # noqa: NPY002
    "python's generator": (lambda m, x, t: random.random(), "drew from python's global generator"),
    "grad mode": (lambda m, x, t: torch.set_grad_enabled(False), "left the recording of gradients switched off"),
    "default dtype": (
        lambda m, x, t: torch.set_default_dtype(torch.float64),
        "left torch.float64 as the default dtype",
    ),
    "images": (lambda m, x, t: x.clamp_(max=0.5), "changed the images"),
    "targets": (lambda m, x, t: t.zero_(), "changed the targets"),
    "gradient of the images": (lambda m, x, t: x.requires_grad_(), "left a gradient on the images"),
}


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    with pretended("cuda"):
        yield request.param


@pytest.mark.parametrize(("make", "message"), MISTAKES.values(), ids=MISTAKES)
def test_every_mistake_is_named_alone_and_put_back(make: Mistake, message: str, device: str) -> None:
    model, images, targets = small().to(device), IMAGES.clone().to(device), TARGETS.clone().to(device)
    checks = watch(model, images, targets, stochastic=False)
    with pytest.raises(ContractError) as caught:
        guarded(doing(make), model, ["0"], images, targets)
    assert caught.value.message.startswith(f"explainer 'planted' broke its contract: it {message}")
    assert "; " not in caught.value.message
    assert changes(checks) == []


@pytest.mark.parametrize(
    "write", [lambda p: p.data.add_(1), lambda p: p.detach().numpy().fill(0)], ids=["data", "numpy"]
)
def test_changed_parameters_are_named(write: Callable[[Tensor], object]) -> None:
    with pytest.raises(ContractError, match=r"it changed parameter 0\.weight$"):
        called(doing(lambda m, x, t: write(m[0].weight)))


def test_gradients_that_were_there_are_named_when_they_change() -> None:
    model = small()
    model(IMAGES).sum().backward()
    with pytest.raises(ContractError, match=r"changed the values in \.grad of 0\.weight$"):
        called(doing(lambda m, x, t: m[0].weight.grad.add_(1)), model)


def test_hook_that_was_there_is_put_back_when_it_is_taken_away() -> None:
    model = small()
    handle = model[0].register_forward_hook(print)
    with pytest.raises(ContractError, match="left a forward hook on 0"):
        called(doing(lambda m, x, t: handle.remove()), model)
    assert list(model[0]._forward_hooks.values()) == [print]


def test_weights_changed_and_put_back_are_no_fault() -> None:
    called(doing(lambda m, x, t: (m[0].weight.data.neg_(), m[0].weight.data.neg_())))


def test_gradients_are_recorded_during_a_call_and_afterwards_as_the_caller_had_it() -> None:
    seen: list[bool] = []
    with torch.no_grad():
        called(doing(lambda m, x, t: seen.append(torch.is_grad_enabled())))
        assert not torch.is_grad_enabled()
    assert seen == [True]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other thread, whichever other tests left."""
    monkeypatch.setattr("bench.explaining.side_effects.alone", lambda: True)


@pytest.mark.usefixtures("alone")
def test_stochastic_explainer_may_draw_and_the_generators_are_put_back() -> None:
    model, before = small(), torch.get_rng_state()
    called(doing(lambda m, x, t: torch.rand(1), stochastic=True), model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("alone")
def test_import_that_draws_is_no_fault_and_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before, modules = random.getstate(), sys.modules
    called(doing(lambda *rest: (monkeypatch.setitem(modules, "bench_test_backend", random), random.random())))
    assert random.getstate() == before


def test_all_mistakes_of_one_call_are_told_at_once() -> None:
    with pytest.raises(ContractError, match=r"it left training = True .*; drew from torch's global generator$"):
        called(doing(lambda m, x, t: (m.train(), torch.rand(1))))


def test_error_of_the_explainer_passes_and_the_model_is_put_back() -> None:
    model = small()
    with pytest.raises(ZeroDivisionError) as caught:
        called(doing(lambda m, x, t: (m.train(), 1 / 0)), model)
    assert caught.value.__notes__ == [
        "in explainer 'planted', which also left training = True in the model, 0 and 4 more"
    ]
    assert not any(module.training for module in model.modules())


def test_an_interruption_keeps_its_notes_for_commands_that_go_on() -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        called(doing(interrupted))
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"0": torch.ones(2, 1, 4, 4)}, r"\(2, 1, 4, 4\) torch.float32 at 0, not \(2, 2, h, w\) torch.float32"),
        ({"0": torch.ones(2, 4, 4)}, r"\(2, 4, 4\) .* at 0, not \(2, 2, h, w\)"),
        ({"0": torch.ones(2, 2, 0, 4)}, r"\(2, 2, 0, 4\) .* at 0, not \(2, 2, h, w\)"),
        ({"0": torch.ones(2, 2, 4, 4).double()}, r"torch.float64 at 0, not \(2, 2, h, w\) torch.float32"),
        ({"0": torch.ones(2, 2, 4, 4, requires_grad=True)}, "a map at 0 that is not detached"),
        ({"0": np.ones((2, 2, 4, 4))}, "a ndarray at 0, not a tensor"),
        ({"1": torch.ones(2, 2, 4, 4)}, r"returned \['1'\] for layers \['0'\]"),
        ({}, r"returned \[\] for layers \['0'\]"),
        (torch.ones(2, 2, 4, 4), r"returned Tensor for layers \['0'\]"),
    ],
)
def test_wrong_maps_are_refused(raw: object, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        called(giving(raw))


@pytest.mark.parametrize("output", ["input", "pixels", "picture"])
def test_input_methods_must_answer_in_pixels(output: str) -> None:
    called(giving({"input": torch.ones(2, 2, 8, 8)}, output=output), None, "input")
    with pytest.raises(ContractError, match=r"not \(2, 2, 8, 8\)"):
        called(giving({"input": torch.ones(2, 2, 4, 4)}, output=output), None, "input")


def test_maps_come_in_the_order_of_the_layers_and_values_that_are_not_finite_are_kept() -> None:
    found = called(giving(dict.fromkeys("10", torch.full((2, 2, 4, 4), torch.nan))), None, "0", "1")
    assert list(found) == ["0", "1"] and found["0"].isnan().all()


def test_buffers_that_hold_nan_are_not_taken_for_changed() -> None:
    model = small()
    model[1].running_mean[0] = torch.nan
    called(doing(lambda m, x, t: None), model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bfloat16, torch.int64, torch.bool], ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (5, 7), (2, 3, 4, 5)])
def test_bits_tell_every_single_change_in_any_dtype_and_layout(
    dtype: torch.dtype, shape: tuple[int, ...], device: str
) -> None:
    ones = torch.ones(shape).to(device, dtype)
    sliced = torch.ones(2, *shape).to(device, dtype)[..., ::2]
    for laid_out in (ones, ones.permute(tuple(reversed(range(ones.ndim)))), channels_last(ones), sliced):
        others = [torch.ones(3, device=device, dtype=torch.bool), torch.ones(2, device=device)]  # of odd sizes
        given = {"copied": laid_out, "summed": laid_out.clone(), "other": others[0], "after": others[1]}

        def noted(given: dict[str, Tensor] = given) -> Values:
            return Values([given["other"], given["copied"]], [given["summed"], given["after"]])

        assert noted().changed(given) == []
        for name in ("copied", "summed"):
            before, kept = given[name].clone(), noted()
            given[name][(-1,) * len(shape)] = 0
            assert kept.changed(given) == [name]
            if name == "copied":
                kept.put_back([given[name]])
                assert torch.equal(given[name], before) and noted().changed(given) == []


def test_another_nan_and_another_zero_are_changes(device: str) -> None:
    values = torch.tensor([torch.nan, 0.0, 1.0]).to(device)
    for change in (lambda: values.view(torch.int32)[0].add_(1), values[1].neg_):
        kept = Values([values], [])
        change()
        assert kept.changed({"values": values}) == ["values"]


def channels_last(values: Tensor) -> Tensor:
    return values.to(memory_format=torch.channels_last) if values.ndim == 4 else values


def test_statuses_put_non_finite_before_constant_before_dead_before_ok() -> None:
    maps = [
        ("ok", [-1, 2]), ("dead", [-1, -2]), ("constant", [3, 3]), ("constant", [-1, -1]), ("constant", [0, 0]),
        ("non-finite", [np.inf, np.inf]), ("non-finite", [np.nan, 1]),
    ]  # fmt: skip
    found = statuses(np.array([[raw] for _, raw in maps], dtype=np.float32))
    assert [STATUSES[index] for index in found] == [word for word, _ in maps] and found.dtype == np.uint8
    assert statuses(np.zeros((0, 4, 4))).shape == (0,)


# --- beside other threads -----------------------------------------------------------------------------------

GENERATORS = [name for name in MISTAKES if name.endswith("'s generator")]


@contextmanager
def drawing_thread() -> Iterator[dict[str, list[float]]]:
    """A thread that draws from all three global generators without end; what it drew from each."""
    drawn: dict[str, list[float]] = {"torch": [], "numpy": [], "python": []}
    over = threading.Event()

    def draw() -> None:
        while not over.is_set():
            drawn["torch"].append(torch.rand(()).item())
            drawn["numpy"].append(np.random.rand())  # noqa: NPY002
            drawn["python"].append(random.random())
            time.sleep(1e-4)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield drawn
    finally:
        over.set()
        thread.join()


def waiting(*given: object) -> None:
    """What takes as long as a few draws of the thread."""
    time.sleep(2e-3)


def test_another_thread_that_draws_is_not_blamed_on_the_explainer_and_draws_on_as_if_alone() -> None:
    model = small()  # draws its weights
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    with drawing_thread() as drawn:
        for _ in range(10):
            called(doing(waiting), model)
            called(doing(waiting, stochastic=True), model)
    lone = torch.Generator().manual_seed(0), np.random.RandomState(0), random.Random(0)
    wanted = {
        "torch": [torch.rand((), generator=lone[0]).item() for _ in drawn["torch"]],
        "numpy": [lone[1].rand() for _ in drawn["numpy"]],
        "python": [lone[2].random() for _ in drawn["python"]],
    }
    assert len(drawn["python"]) > 20 and drawn == wanted


@pytest.mark.parametrize("name", GENERATORS)
def test_what_draws_is_found_and_named_beside_a_thread_that_draws_from_everything(name: str) -> None:
    mistake, message = MISTAKES[name]
    with drawing_thread(), pytest.raises(ContractError) as caught:
        called(doing(lambda *given: (waiting(), mistake(*given))))
    assert caught.value.message == f"explainer 'planted' broke its contract: it {message}"


@pytest.mark.parametrize("seed", [torch.manual_seed, np.random.seed, random.seed], ids=["torch", "numpy", "python"])
def test_seeding_a_generator_is_found_beside_a_thread(seed: Callable[[int], object]) -> None:
    with drawing_thread(), pytest.raises(ContractError, match="drew from"):
        called(doing(lambda *given: (waiting(), seed(0))))


def test_draws_that_were_put_back_and_draws_of_own_generators_are_no_fault_beside_a_thread() -> None:
    def forked(*given: object) -> None:
        waiting()
        with torch.random.fork_rng():
            torch.rand(1), nn.functional.dropout(torch.ones(2))
        torch.rand(1, generator=torch.Generator()), np.random.default_rng(0).random(), random.Random(0).random()

    with drawing_thread():
        called(doing(forked))


def test_an_explainer_that_fails_beside_a_thread_is_not_called_again() -> None:
    calls: list[int] = []

    def failing(*given: object) -> None:
        calls.append(1)
        waiting()
        raise ZeroDivisionError

    with drawing_thread(), pytest.raises(ZeroDivisionError) as caught:
        called(doing(failing))
    assert calls == [1] and caught.value.__notes__ == ["in explainer 'planted'"]


def test_an_explainer_that_draws_nothing_is_called_once() -> None:
    calls: list[int] = []
    called(doing(lambda *given: calls.append(1)))
    assert calls == [1]

"""The conformance kit: what every explainer must keep to, one small check each.

A check looks at one claim of the contract (`Explainer` and `ExplainerSpec` in bench/contracts.py) and applies where
the spec makes that claim. It raises only `CrashError`, for what the plug-in itself raised.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Literal

import torch
from torch import Tensor, nn

from bench.registry.registry import NAME
from bench.total_flops import TotalFlops
from bench.verifying.process_memory import growth
from bench.verifying.trial import CrashError, Trial, first_line, gap, moved_generators, put_back, slow_gradcam

# Of a map's largest value, in float64: two ways to the same sum, and where a library goes through float32.
EXACT, CAST = 1e-12, 1e-6
BATCHES = 20
LEAK = 1000  # bytes a batch
NO_HEAD = "the model has no linear head"
NO_LAYER = "no_such_layer"
COST = 0.03  # how far a method's own count of forward passes may be off
SQUEEZED = 1e-4  # how near its ends a scaled map lies; libraries add up to 1e-7 to what they divide by
UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # python keeps them to itself
LEFT = ("training-flags", "grad", "requires-grad", "hooks", "buffers", "parameters", "modules", "inputs", "modes")
ALWAYS = ("spec", "answers")
OF_VALUES = ("finite", "raw", "targets-together", "class-specific")  # these take (N, T, h, w) apart

Status = Literal["passed", "failed", "not applicable"]
Found = tuple[Status, str]
PASSED: Found = ("passed", "")


@dataclass(frozen=True)
class Outcome:
    """What one check found.

    Attributes:
        name: of the check.
        status: `passed`, `failed` or `not applicable`.
        words: what was found, with the offending value; why, where it does not apply.
    """

    name: str
    status: Status
    words: str


def unless(fault: str, words: str = "") -> Found:
    """Passed unless there is a fault, which names the value; `words` are those of a check that passed."""
    return ("failed", fault) if fault else ("passed", words)


def first(faults: Iterator[str], words: str = "") -> Found:
    """The same of the first fault of several."""
    return unless(next(faults, ""), words)


def agreed(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, *, within: float = CAST) -> Found:
    """Passed where all maps are equal within a share of their largest value."""
    most, layer = max((gap(found[layer], wanted[layer]), layer) for layer in wanted)
    words = f"within {most:.0e} of the largest value" if most else "bit for bit"
    return unless("" if most <= within else f"{what}: apart by {most:.3g} of the map's largest value at {layer}", words)


# --- the spec, and each map by itself -------------------------------------------------------------------------


def check_spec(trial: Trial) -> Found:
    """Name, source, cost and batch size can be what they are said to be."""
    spec = trial.spec
    costs = {layer: spec.cost(layer) for layer in trial.measured}
    faults = {
        f"its name is '{spec.name}', and a name must match {NAME.pattern}": not NAME.fullmatch(spec.name),
        "it names no source": not spec.source.strip(),
        f"max_batch is {spec.max_batch}": spec.max_batch < 1,
        **{f"cost('{layer}') is {cost}": not 0 <= cost < math.inf for layer, cost in costs.items()},
        "it returns a picture, but does not name its steps": spec.output == "picture" and not spec.steps,
    }
    return unless("; ".join(fault for fault, holds in faults.items() if holds))


def check_answers(trial: Trial) -> Found:
    """A call ends, with one tensor for each layer."""
    return unless(trial.crash)


def check_shape(trial: Trial) -> Found:
    """(N, T) maps on the layer's own grid, or in the pixels of the images."""
    sizes = {layer: (*trial.targets.shape, *trial.grids[layer]) for layer in trial.maps}
    return first(
        f"{tuple(maps.shape)} at {layer}, not {sizes[layer]}"
        for layer, maps in trial.maps.items()
        if tuple(maps.shape) != sizes[layer]
    )


def check_dtype(trial: Trial) -> Found:
    """Maps in the dtype of the images, be it float32 or float64."""
    return first(
        f"{maps.dtype} at {layer} for a model and images in {wanted}"
        for wanted, found in ((torch.float32, trial.maps), (torch.float64, trial.doubles))
        for layer, maps in found.items()
        if maps.dtype is not wanted
    )


def check_detached(trial: Trial) -> Found:
    """Maps that hold no graph: it would keep the memory of the whole pass."""
    held = ", ".join(layer for layer, maps in trial.maps.items() if maps.requires_grad)
    return unless(held and f"the map at {held} is not detached")


def check_finite(trial: Trial) -> Found:
    """Every value is a number, and at no layer every map is flat."""
    for layer, maps in trial.maps.items():
        wrong, cells = int((~maps.isfinite()).sum()), maps.flatten(2)
        if wrong:
            return unless(f"{wrong} of {maps.numel()} values at {layer} are no numbers")
        if torch.equal(cells.amax(2), cells.amin(2)):
            return unless(f"every map is constant at {layer}")
    return PASSED


def check_raw(trial: Trial) -> Found:
    """Raw means raw: neither squeezed to 0..1 nor brought to one size."""
    scaled = {layer: scaling_of(maps.flatten(2).flatten(0, 1).double()) for layer, maps in trial.maps.items()}
    return first(f"{how} at {layer}; maps are wanted before any scaling" for layer, how in scaled.items() if how)


def check_signed(trial: Trial) -> Found:
    """Values below zero where the spec says that they mean something, and none where it denies it.

    What is not signed may still be below zero where the layer's own output is.
    """
    lowest = {layer: float(maps.min()) for layer, maps in trial.maps.items()}
    smallest = min(lowest.values())
    if trial.spec.signed:
        words = f"no value below zero (the smallest is {smallest:.3g}), but the spec says signed: no ReLU"
        return unless("" if smallest < 0 else words, f"down to {smallest:.3g}")
    below = {layer for layer, output in trial.outputs.items() if output.min() < 0}
    return first(
        (
            f"down to {low:.3g} at {layer}, but the spec says that it is not signed"
            for layer, low in lowest.items()
            if low < 0 and layer not in below
        ),
        f"down to {smallest:.3g}",
    )


def scaling_of(rows: Tensor) -> str:
    """How maps (R, positions) were all brought to one range or size, in words; empty where they were not.

    Equal maps count once, and constant ones not at all: of a centre map that never changes nothing can be told.
    """
    rows = torch.unique(rows[(rows.amax(1) > rows.amin(1)) & rows.isfinite().all(1)], dim=0)
    if len(rows) < 3:
        return ""
    low, high = rows.amin(1), rows.amax(1)
    if ((low.abs() <= SQUEEZED) & ((high - 1).abs() <= SQUEEZED)).all():
        return "min-max scaled: every map runs from 0 to 1"
    sizes = {
        "largest value": high,
        "largest absolute value": rows.abs().amax(1),
        "sum": rows.sum(1),
        "norm": rows.norm(dim=1),
    }
    for name, size in sizes.items():
        typical = float(size.mean())
        if abs(typical) > 1e-3 * float(rows.abs().mean()) and float((size - typical).abs().max()) <= 1e-5 * abs(
            typical
        ):
            return f"scaled: the {name} of every map is {typical:.4g}"
    return ""


def check_picture(trial: Trial) -> Found:
    """Finished pictures lie in 0..1."""
    ranges = {layer: (float(maps.min()), float(maps.max())) for layer, maps in trial.maps.items()}
    return first(
        f"from {low:.4g} to {high:.4g} at {layer}, not within 0 and 1"
        for layer, (low, high) in ranges.items()
        if not (low >= 0 and high <= 1)  # nan is neither
    )


# --- the same question, the same answer ---------------------------------------------------------------------


def check_repeatable(trial: Trial) -> Found:
    """The same call gives the same bits, whatever was asked in between; under the same seed where it is stochastic."""
    model, images, targets = trial.copy(), trial.images, trial.targets
    first = trial.ask(images, targets, model=model)
    trial.ask(images[:1].flip(-1), targets[:1].flip(-1), model=model)
    with moved_generators():
        again = trial.ask(images, targets, model=model)
    under = " under the same seed of torch's generator" if trial.spec.stochastic else ""
    return agreed(again, first, f"two calls differ{under}", within=0.0)


def check_batch(trial: Trial) -> Found:
    """A batch gives what its images give alone."""
    alone = trial.ask(trial.images.double(), trial.targets, at_once=1)
    return agreed(trial.doubles, alone, f"a batch of {trial.at_once} differs from its images alone")


def check_layers_together(trial: Trial) -> Found:
    """Several layers in one call get what each gets alone."""
    images, targets = trial.images.double(), trial.targets
    alone = {layer: trial.ask(images, targets, layers=(layer,))[layer] for layer in trial.layers}
    return agreed(trial.doubles, alone, f"{len(trial.layers)} layers in one call differ from one at a time")


def check_targets_together(trial: Trial) -> Found:
    """Several targets in one call get what each gets alone."""
    joined = {layer: torch.cat([maps[layer] for maps in trial.alone], dim=1) for layer in trial.layers}
    return agreed(trial.doubles, joined, "two targets in one call differ from one at a time")


def check_no_grad_mode(trial: Trial) -> Found:
    """It works where the caller records no gradients."""
    with torch.no_grad():
        found = trial.ask(trial.images.double(), trial.targets)
    return agreed(found, trial.doubles, "maps under torch.no_grad() differ")


def check_trainable(trial: Trial) -> Found:
    """It works on a model whose parameters are not frozen, with the same maps."""
    model = trial.copy(torch.float64).requires_grad_(True)
    found = trial.ask(trial.images.double(), trial.targets, model=model)
    return agreed(found, trial.doubles, "maps of a model with trainable parameters differ from those of a frozen one")


# --- targets ------------------------------------------------------------------------------------------------


def check_class_specific(trial: Trial) -> Found:
    """Another target, another map, where the spec says so; the same map where it says the target has no say."""
    first, second = trial.alone
    for layer in trial.layers:
        for image, (one, other) in enumerate(trial.targets.tolist()):
            where = f"maps of classes {one} and {other} of image {image}"
            apart = gap(first[layer][image], second[layer][image])
            if trial.spec.class_specific and apart == 0 and first[layer][image].any():
                return unless(f"{where} are equal at {layer}, but the spec says class_specific")
            if not trial.spec.class_specific and apart > CAST:
                return unless(f"{where} differ by {apart:.3g} at {layer}, but the spec denies class_specific")
    return PASSED


def check_wrong_target(trial: Trial) -> Found:
    """A target that is no class is refused, wherever it stands in a batch."""
    for wrong in (trial.classes, -1):
        targets = trial.targets[:2].clone()
        targets[-1, -1] = wrong
        try:
            trial.ask(trial.images[:2], targets)
        except CrashError:
            continue
        return unless(f"target {wrong} of {trial.classes} classes gives a map instead of an error")
    return PASSED


def check_wrong_layer(trial: Trial) -> Found:
    """A layer that the model lacks, or that has no grid, gives no map: it would be taken for that layer's."""
    head, first = trial.head(trial.model), next(name for name, _ in trial.model.named_children())
    without = first if trial.spec.output == "input" else head[0] if head else NO_LAYER
    for layer in (NO_LAYER, without):
        try:
            maps = trial.ask(trial.images[:1], trial.targets[:1], layers=(layer,))[layer]
        except CrashError:
            continue
        if maps.ndim == 4:
            return unless(f"layer '{layer}' gives a map instead of an error")
    return PASSED


# --- nothing left behind ------------------------------------------------------------------------------------


def left(kind: str) -> Callable[[Trial], Found]:
    """The check that a call leaves nothing of one kind behind."""

    def check(trial: Trial) -> Found:
        faults = "; ".join(trial.left[kind])
        return unless(faults and f"it {faults}")

    return check


def check_image_gradients(trial: Trial) -> Found:
    """Images that want gradients get none from an explanation."""
    images, targets, model = trial.images[:1].clone().requires_grad_(), trial.targets[:1].clone(), trial.copy()
    with put_back(model, images, targets):
        trial.call(model, trial.layers, images, targets)
        if images.grad is not None:
            return unless("it left a gradient on images that require gradients")
        return unless("" if images.requires_grad else "it switched off the gradients of the images")


def check_silent(trial: Trial) -> Found:
    """A call prints nothing and warns of nothing: it would stand among what a user reads, or a program."""
    words = StringIO()
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(words), redirect_stderr(words):
        warnings.simplefilter("always")
        trial.ask(trial.images[:1], trial.targets[:1])
    printed = f"it prints {words.getvalue()[:60]!r}" if words.getvalue() else ""
    warned = (f"it warns: {each.message}" for each in caught if not issubclass(each.category, UNSEEN))
    return unless(next(warned, printed))


def check_error(trial: Trial) -> Found:
    """An error of the model, whenever it comes, reaches the caller, and nothing is left behind."""
    calls = _with_failing_head(trial, at=0)[0]
    if not calls:
        return "not applicable", NO_HEAD
    for at in sorted({1, (1 + calls) // 2, calls}):
        where = f"in forward pass {at} of {calls}"
        _, faults, error = _with_failing_head(trial, at)
        if error is None:
            return unless(f"an error {where} gives a map instead of an error")
        if not any(isinstance(each, PlantedError) for each in _causes(error)):
            return unless(f"an error {where} became {type(error).__name__}: {first_line(error)}")
        if faults:
            return unless(f"after an error {where} it {'; '.join(faults)}")
    return unless("", f"{calls} forward passes")


class PlantedError(IndexError):
    """Raised by a model on purpose; an IndexError, since explainers may take one for a wrong target."""


def _with_failing_head(trial: Trial, at: int) -> tuple[int, list[str], BaseException | None]:
    """How often a call ran the head, which fails the `at`-th time; what was left behind, and what was raised."""
    model, calls = trial.copy(), 0
    head = trial.head(model)
    if head is None:
        return 0, [], None

    def forward(features: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            raise PlantedError(f"planted in call {calls} of the head")
        return nn.functional.linear(features, head[1].weight, head[1].bias)

    vars(head[1])["forward"] = forward
    found, error = trial.left_by(model)
    return calls, [fault for faults in found.values() for fault in faults], error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and those it was raised from."""
    known: BaseException | None = error
    while known is not None:
        yield known
        known = known.__cause__ or (None if known.__suppress_context__ else known.__context__)


def check_cost(trial: Trial) -> Found:
    """What an input method says of its cost is what one more image takes, in the work of a forward pass."""
    said, most = trial.spec.cost(trial.measured[0]), len(trial.images)
    with TotalFlops() as forward, torch.no_grad():
        trial.model(trial.images[:1])
    taken = (_flops_of(trial, most) - _flops_of(trial, 1)) / (most - 1) / forward.get_total_flops()
    fault = f"one more image takes {taken:.2f} forward passes, but the spec says {said:.2f}"
    return unless(fault if abs(taken - said) > COST * said else "", f"{taken:.2f} forward passes")


def _flops_of(trial: Trial, count: int) -> float:
    """FLOP of one call with the first images, for one target each."""
    model, images, targets = trial.copy(), trial.images[:count].clone(), trial.targets[:count, :1].clone()
    with put_back(model, images, targets), TotalFlops() as work:
        trial.call(model, trial.layers, images, targets)
    return float(work.get_total_flops())


def check_memory(trial: Trial) -> Found:
    """No memory more after 20 batches. What hooks or gradients hold on to is theirs: they are put back first."""
    model, layers = trial.copy(), trial.layers[-1:]
    images, targets = trial.images[:1], trial.targets[:1, :1]  # of one image each

    def batch() -> None:
        with put_back(model, images, targets):
            trial.call(model, layers, images, targets)

    for _ in range(3):  # what is made once and kept, such as a cache, is no leak
        batch()
    grown = growth(batch, BATCHES)
    if grown is None:
        return "not applicable", "this system does not report how much memory is in use"
    fault = f"{grown / 1e6:.1f} MB more after {BATCHES} batches" if grown > LEAK * BATCHES else ""
    return unless(fault, f"{grown:,} bytes")


# --- Grad-CAM -----------------------------------------------------------------------------------------------


def check_head_scale(trial: Trial) -> Found:
    """Twice the head's weights, twice the map: Grad-CAM is linear in the logit, and a scaled map is not."""
    model = trial.copy(torch.float64)
    head = trial.head(model)
    assert head is not None  # `out_of_scope` sees to it
    with torch.no_grad():
        for parameter in head[1].parameters():
            parameter.mul_(2)
    found = trial.ask(trial.images.double(), trial.targets, model=model)
    twice = {layer: 2 * maps for layer, maps in trial.doubles.items()}
    return agreed(found, twice, "twice the head's weights do not give twice the map")


def check_reference(trial: Trial) -> Found:
    """Where it claims to be Grad-CAM, its maps are Grad-CAM's."""
    images, model = trial.images.double(), trial.copy(torch.float64)
    truth = (trial.reference or slow_gradcam)(model, trial.layers, images, trial.targets)
    cast = all(torch.equal(maps.float().to(maps.dtype), maps) for maps in trial.doubles.values())
    return agreed(trial.doubles, truth, "not Grad-CAM", within=CAST if cast else EXACT)


# --- all of them --------------------------------------------------------------------------------------------

CHECKS: Mapping[str, Callable[[Trial], Found]] = {
    "spec": check_spec,
    "answers": check_answers,
    "shape": check_shape,
    "dtype": check_dtype,
    "detached": check_detached,
    "finite": check_finite,
    "raw": check_raw,
    "signed": check_signed,
    "picture": check_picture,
    "repeatable": check_repeatable,
    "batch": check_batch,
    "layers-together": check_layers_together,
    "targets-together": check_targets_together,
    "no-grad-mode": check_no_grad_mode,
    "trainable": check_trainable,
    "class-specific": check_class_specific,
    "wrong-target": check_wrong_target,
    "wrong-layer": check_wrong_layer,
    **{kind: left(kind) for kind in (*LEFT, "random-state")},
    "image-gradients": check_image_gradients,
    "error": check_error,
    "silent": check_silent,
    "memory": check_memory,
    "cost": check_cost,
    "head-scale": check_head_scale,
    "reference": check_reference,
}


def out_of_scope(trial: Trial, name: str) -> str:
    """Why a check means nothing for a plug-in, whose spec makes no such claim; empty where it means something."""
    spec, picture = trial.spec, trial.spec.output == "picture"
    one_a_call = f"{'it is stochastic' if spec.stochastic else 'max_batch is 1'}, so it gets one image a call"
    # What a finished picture has to do with Grad-CAM, `bench judge` tells.
    no_gradcam = spec.claims != "grad-cam" or spec.output != "layer"
    no_claim = "it does not claim that its raw maps are Grad-CAM"
    reasons = {
        "raw": (picture, "it gives finished pictures"),
        "signed": (picture, "it gives finished pictures"),
        "picture": (not picture, "it gives raw maps"),
        "batch": (trial.at_once == 1, one_a_call),
        "layers-together": (len(trial.layers) == 1, f"there is only one layer, {trial.layers[0]}"),
        "targets-together": (spec.stochastic, "it is stochastic, so each target of a call may draw its own numbers"),
        "wrong-target": (not spec.class_specific, "its maps do not depend on the target"),
        "wrong-layer": (picture, "a finished picture is what its library returns"),
        "random-state": (spec.stochastic, "it is stochastic; bench puts the generators back"),
        "cost": (spec.output != "input", "the cost of a layer is for the real networks, and this one is small"),
        "head-scale": (no_gradcam or not trial.head(trial.model), no_claim if no_gradcam else NO_HEAD),
        "reference": (no_gradcam, no_claim),
    }
    applies_not, words = reasons.get(name, (False, ""))
    return words if applies_not else ""


def outcome_of(trial: Trial, name: str) -> Outcome:
    """What one check, by its name, finds about a plug-in."""
    try:
        if name not in ALWAYS and trial.crash:
            return Outcome(name, "not applicable", "not tried: a call returns no maps")
        if name in OF_VALUES and check_shape(trial)[0] == "failed":
            return Outcome(name, "not applicable", "not tried: its maps have another shape")
        beside = out_of_scope(trial, name)
        return Outcome(name, "not applicable", beside) if beside else Outcome(name, *CHECKS[name](trial))
    except CrashError as error:
        return Outcome(name, "failed", str(error))


def outcomes_of(trial: Trial) -> Iterator[Outcome]:
    """What every check finds, one after the other."""
    return (outcome_of(trial, name) for name in CHECKS)

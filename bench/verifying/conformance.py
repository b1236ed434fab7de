"""The conformance kit: what every explainer must keep to, one small check each.

A check looks at one claim of the contract (`Explainer` and `ExplainerSpec` in bench/contracts.py) and applies where
the spec makes that claim. It raises only `CrashError`, for what the plug-in itself raised.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import torch
from torch import Tensor, nn

from bench.verifying.map_checks import (
    check_answers,
    check_detached,
    check_dtype,
    check_finite,
    check_picture,
    check_raw,
    check_shape,
    check_signed,
    check_spec,
)
from bench.verifying.outcomes import CAST, EXACT, Found, Outcome, agreed, does_not_apply, failed, passed
from bench.verifying.process_memory import growth
from bench.verifying.trial import CrashError, Trial, first_line, gap, moved_generators, put_back, slow_gradcam
from bench.verifying.work import Work

BATCHES = 20
LEAK = 1000  # bytes a batch
NO_CLAIM = "it does not claim that its raw maps are Grad-CAM"
NO_HEAD = "the model has no linear head"
NO_LAYER = "no_such_layer"
COST = 0.03  # how far a method's own count of forward passes may be off
UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # python keeps them to itself
LEFT = ("training-flags", "grad", "requires-grad", "hooks", "buffers", "parameters", "modules", "inputs", "modes")
ALWAYS = ("spec", "answers")
OF_VALUES = ("finite", "raw", "targets-together", "class-specific")  # these take (N, T, h, w) apart


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
    if trial.at_once == 1:
        why = "it is stochastic" if trial.spec.stochastic else "max_batch is 1"
        return does_not_apply(f"{why}, so it gets one image a call")
    alone = trial.ask(trial.images.double(), trial.targets, at_once=1)
    return agreed(trial.doubles, alone, f"a batch of {trial.at_once} differs from its images alone")


def check_layers_together(trial: Trial) -> Found:
    """Several layers in one call get what each gets alone."""
    if len(trial.layers) == 1:
        return does_not_apply(f"there is but one layer, {trial.layers[0]}")
    images, targets = trial.images.double(), trial.targets
    alone = {layer: trial.ask(images, targets, layers=(layer,))[layer] for layer in trial.layers}
    return agreed(trial.doubles, alone, f"{len(trial.layers)} layers in one call differ from one at a time")


def check_targets_together(trial: Trial) -> Found:
    """Several targets in one call get what each gets alone."""
    if trial.spec.stochastic:
        return does_not_apply("it is stochastic, so each target of a call may draw its own numbers")
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
                return failed(f"{where} are equal at {layer}, though the spec says class_specific")
            if not trial.spec.class_specific and apart > CAST:
                return failed(f"{where} differ by {apart:.3g} at {layer}, though the spec denies class_specific")
    return passed()


def check_wrong_target(trial: Trial) -> Found:
    """A target that is no class is refused, wherever it stands in a batch."""
    if not trial.spec.class_specific:
        return does_not_apply("its maps do not depend on the target")
    for wrong in (trial.classes, -1):
        targets = trial.targets[:2].clone()
        targets[-1, -1] = wrong
        try:
            trial.ask(trial.images[:2], targets)
        except CrashError:
            continue
        return failed(f"target {wrong} of {trial.classes} classes gives a map and no error")
    return passed()


def check_wrong_layer(trial: Trial) -> Found:
    """A layer that the model lacks, or that has no grid, gives no map: it would be taken for that layer's."""
    if trial.spec.output == "picture":
        return does_not_apply("a finished picture is whatever its library gives")
    head, first = trial.head(trial.model), next(name for name, _ in trial.model.named_children())
    without = first if trial.spec.output == "input" else head[0] if head else NO_LAYER
    for layer in (NO_LAYER, without):
        try:
            maps = trial.ask(trial.images[:1], trial.targets[:1], layers=(layer,))[layer]
        except CrashError:
            continue
        if maps.ndim == 4:
            return failed(f"layer '{layer}' gives a map and no error")
    return passed()


# --- nothing left behind ------------------------------------------------------------------------------------


def left(kind: str) -> Callable[[Trial], Found]:
    """The check that a call leaves nothing of one kind behind."""

    def check(trial: Trial) -> Found:
        faults = trial.left[kind]
        return failed(f"it {'; '.join(faults)}") if faults else passed()

    return check


def check_random_state(trial: Trial) -> Found:
    """Whoever is not stochastic draws nothing from the global generators."""
    if trial.spec.stochastic:
        return does_not_apply("it is stochastic; bench puts the generators back")
    return left("random-state")(trial)


def check_image_gradients(trial: Trial) -> Found:
    """Images that want gradients get none from an explanation."""
    images, targets, model = trial.images[:1].clone().requires_grad_(), trial.targets[:1].clone(), trial.copy()
    with put_back(model, images, targets):
        trial.call(model, trial.layers, images, targets)
        if images.grad is not None:
            return failed("it left a gradient on images that want one")
        return passed() if images.requires_grad else failed("it froze images that want a gradient")


def check_silent(trial: Trial) -> Found:
    """A call prints nothing and warns of nothing: it would stand among what a user reads, or a program."""
    words = StringIO()
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(words), redirect_stderr(words):
        warnings.simplefilter("always")
        trial.ask(trial.images[:1], trial.targets[:1])
    told = [f"it warns: {each.message}" for each in caught if not issubclass(each.category, UNSEEN)]
    told += [f"it prints {words.getvalue()[:60]!r}"] if words.getvalue() else []
    return failed(told[0]) if told else passed()


def check_error(trial: Trial) -> Found:
    """An error of the model, whenever it comes, reaches the caller, and nothing is left behind."""
    calls = _with_failing_head(trial, at=0)[0]
    if not calls:
        return does_not_apply(NO_HEAD)
    for at in sorted({1, (1 + calls) // 2, calls}):
        where = f"in forward pass {at} of {calls}"
        _, faults, error = _with_failing_head(trial, at)
        if error is None:
            return failed(f"an error {where} gives a map and no error")
        if not any(isinstance(each, PlantedError) for each in _causes(error)):
            return failed(f"an error {where} became {type(error).__name__}: {first_line(error)}")
        if faults:
            return failed(f"after an error {where} it {'; '.join(faults)}")
    return passed(f"{calls} forward passes")


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
    if trial.spec.output != "input":
        return does_not_apply("the cost of a layer is that of the real nets, and these are small ones")
    said, most = trial.spec.cost(trial.layers[0]), len(trial.images)
    forward = Work()
    with forward, torch.no_grad():
        trial.model(trial.images[:1])
    taken = (_work_of(trial, most) - _work_of(trial, 1)) / (most - 1) / forward.flops
    if abs(taken - said) > COST * said:
        return failed(f"one more image takes {taken:.2f} forward passes, and the spec says {said:.2f}")
    return passed(f"{taken:.2f} forward passes")


def _work_of(trial: Trial, count: int) -> float:
    """FLOP of one call with the first images, for one target each."""
    model, images, targets = trial.copy(), trial.images[:count].clone(), trial.targets[:count, :1].clone()
    work = Work()
    with put_back(model, images, targets), work:
        trial.call(model, trial.layers, images, targets)
    return work.flops


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
        return does_not_apply("this system does not tell how much memory is held")
    return (
        failed(f"{grown / 1e6:.1f} MB more after {BATCHES} batches")
        if grown > LEAK * BATCHES
        else passed(f"{grown:,} bytes")
    )


# --- Grad-CAM -----------------------------------------------------------------------------------------------


def claims_raw_gradcam(trial: Trial) -> bool:
    """Whether raw maps must be Grad-CAM's; what a finished picture has to do with it, `bench judge` tells."""
    return trial.spec.claims == "grad-cam" and trial.spec.output == "layer"


def check_head_scale(trial: Trial) -> Found:
    """Twice the head's weights, twice the map: Grad-CAM is linear in the logit, and a scaled map is not."""
    if not claims_raw_gradcam(trial):
        return does_not_apply(NO_CLAIM)
    model = trial.copy(torch.float64)
    head = trial.head(model)
    if head is None:
        return does_not_apply(NO_HEAD)
    with torch.no_grad():
        for parameter in head[1].parameters():
            parameter.mul_(2)
    found = trial.ask(trial.images.double(), trial.targets, model=model)
    twice = {layer: 2 * maps for layer, maps in trial.doubles.items()}
    return agreed(found, twice, "twice the head's weights do not give twice the map")


def check_reference(trial: Trial) -> Found:
    """Where it claims to be Grad-CAM, its maps are Grad-CAM's."""
    if not claims_raw_gradcam(trial):
        return does_not_apply(NO_CLAIM)
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
    **{kind: left(kind) for kind in LEFT},
    "random-state": check_random_state,
    "image-gradients": check_image_gradients,
    "error": check_error,
    "silent": check_silent,
    "memory": check_memory,
    "cost": check_cost,
    "head-scale": check_head_scale,
    "reference": check_reference,
}


def outcome_of(trial: Trial, name: str) -> Outcome:
    """What one check, by its name, finds about a plug-in."""
    try:
        if name not in ALWAYS and trial.crash:
            return Outcome(name, "not applicable", "not tried: it does not answer")
        if name in OF_VALUES and check_shape(trial)[0] == "failed":
            return Outcome(name, "not applicable", "not tried: its maps have another shape")
        return Outcome(name, *CHECKS[name](trial))
    except CrashError as error:
        return Outcome(name, "failed", str(error))


def outcomes_of(trial: Trial) -> Iterator[Outcome]:
    """What every check finds, one after the other."""
    return (outcome_of(trial, name) for name in CHECKS)

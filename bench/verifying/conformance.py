"""The conformance kit: what every explainer must keep to, one small check each.

A check looks at one claim of the contract (`Explainer` and `ExplainerSpec` in bench/contracts.py) and applies where
the spec makes that claim. It raises only `CrashError`, for what the plug-in itself raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from bench.verifying.map_checks import (
    check_answers,
    check_detached,
    check_dtype,
    check_picture,
    check_raw,
    check_shape,
    check_spec,
)
from bench.verifying.outcomes import CAST, EXACT, Found, Outcome, agreed, does_not_apply, failed, passed
from bench.verifying.process_memory import growth
from bench.verifying.trial import CrashError, Trial, gap, moved_generators, put_back, slow_gradcam

BATCHES = 50
LEAK = 50_000  # bytes over all batches: a kilobyte a batch
NO_CLAIM = "it does not claim that its raw maps are Grad-CAM"
LEFT = ("training-flags", "grad", "requires-grad", "hooks", "buffers", "parameters", "modules", "inputs", "modes")
ALWAYS = ("spec", "answers")
OF_VALUES = ("raw", "targets-together", "class-specific")  # these take (N, T, h, w) apart


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
    alone = [trial.ask(trial.images.double(), column[:, None]) for column in trial.targets.unbind(1)]
    joined = {layer: torch.cat([maps[layer] for maps in alone], dim=1) for layer in trial.layers}
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
    images, (one, other) = trial.images.double(), trial.targets.unbind(1)
    first, second = (trial.ask(images, column[:, None]) for column in (one, other))
    pair = f"classes {int(one[0])} and {int(other[0])}"
    for layer in trial.layers:
        apart = gap(first[layer], second[layer])
        if trial.spec.class_specific and apart == 0:
            return failed(f"maps of {pair} are equal at {layer}, though the spec says class_specific")
        if not trial.spec.class_specific and apart > CAST:
            return failed(f"maps of {pair} differ by {apart:.3g} at {layer}, though the spec denies class_specific")
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


def check_memory(trial: Trial) -> Found:
    """No memory more after 50 batches. What hooks or gradients hold on to is theirs: they are put back first."""
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
    return failed(f"{grown / 1e6:.1f} MB more after {BATCHES} batches") if grown > LEAK else passed(f"{grown:,} bytes")


# --- Grad-CAM -----------------------------------------------------------------------------------------------


def claims_raw_gradcam(trial: Trial) -> bool:
    """Whether raw maps must be Grad-CAM's; what a finished picture has to do with it, `bench judge` tells."""
    return trial.spec.claims == "grad-cam" and trial.spec.output == "layer"


def check_head_scale(trial: Trial) -> Found:
    """Twice the head's weights, twice the map: Grad-CAM is linear in the logit, and a scaled map is not."""
    if not claims_raw_gradcam(trial):
        return does_not_apply(NO_CLAIM)
    model = trial.copy(torch.float64)
    heads = [each for each in model.modules() if isinstance(each, nn.Linear) and each.out_features == trial.classes]
    if not heads:
        return does_not_apply("the model has no linear head")
    with torch.no_grad():
        for parameter in heads[-1].parameters():
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
    "raw": check_raw,
    "picture": check_picture,
    "repeatable": check_repeatable,
    "batch": check_batch,
    "layers-together": check_layers_together,
    "targets-together": check_targets_together,
    "no-grad-mode": check_no_grad_mode,
    "trainable": check_trainable,
    "class-specific": check_class_specific,
    "wrong-target": check_wrong_target,
    **{kind: left(kind) for kind in LEFT},
    "random-state": check_random_state,
    "memory": check_memory,
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

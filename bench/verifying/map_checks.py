"""Checks of the conformance kit that look at a plug-in's spec and at its maps, one by one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.registry.registry import NAME
from bench.verifying.outcomes import Found, does_not_apply, failed, passed
from bench.verifying.trial import Trial

SQUEEZED = 1e-4  # how near its ends a scaled map lies; libraries add up to 1e-7 to what they divide by


def check_spec(trial: Trial) -> Found:
    """Name, source, cost and batch size can be what they are said to be."""
    spec, faults = trial.spec, []
    if not NAME.fullmatch(spec.name):
        faults.append(f"its name is '{spec.name}', and a name must match {NAME.pattern}")
    if not spec.source.strip():
        faults.append("it names no source")
    if spec.max_batch < 1:
        faults.append(f"max_batch is {spec.max_batch}")
    costs = {layer: spec.cost(layer) for layer in trial.layers}
    faults += [f"cost('{layer}') is {cost}" for layer, cost in costs.items() if not 0 <= cost < math.inf]
    if spec.output == "picture" and not spec.steps:
        faults.append("it gives a picture and does not name the steps to it")
    return failed("; ".join(faults)) if faults else passed()


def check_answers(trial: Trial) -> Found:
    """A call ends, with one tensor for each layer."""
    return failed(trial.crash) if trial.crash else passed()


def check_shape(trial: Trial) -> Found:
    """(N, T) maps on the layer's own grid, or in the pixels of the images."""
    for layer, maps in trial.maps.items():
        wanted = (*trial.targets.shape, *trial.grids[layer])
        if tuple(maps.shape) != wanted:
            return failed(f"{tuple(maps.shape)} at {layer}, not {wanted}")
    return passed()


def check_dtype(trial: Trial) -> Found:
    """Maps in the dtype of the images, be it float32 or float64."""
    for wanted, found in ((torch.float32, trial.maps), (torch.float64, trial.doubles)):
        for layer, maps in found.items():
            if maps.dtype is not wanted:
                return failed(f"{maps.dtype} at {layer} for a model and images in {wanted}")
    return passed()


def check_detached(trial: Trial) -> Found:
    """Maps that hold no graph: it would keep the memory of the whole pass."""
    held = [layer for layer, maps in trial.maps.items() if maps.requires_grad]
    return failed(f"the map at {', '.join(held)} still holds its graph") if held else passed()


def check_finite(trial: Trial) -> Found:
    """Every value is a number, and at no layer every map is flat."""
    for layer, maps in trial.maps.items():
        wrong = int((~maps.isfinite()).sum())
        if wrong:
            return failed(f"{wrong} of {maps.numel()} values at {layer} are no numbers")
        cells = maps.flatten(2)
        if torch.equal(cells.amax(2), cells.amin(2)):
            return failed(f"every map is flat at {layer}")
    return passed()


def check_raw(trial: Trial) -> Found:
    """Raw means raw: neither squeezed to 0..1 nor brought to one size."""
    if trial.spec.output == "picture":
        return does_not_apply("it gives finished pictures")
    for layer, maps in trial.maps.items():
        scaled = scaling_of(maps.flatten(2).flatten(0, 1).double())
        if scaled:
            return failed(f"{scaled} at {layer}; maps are wanted before any scaling")
    return passed()


def check_signed(trial: Trial) -> Found:
    """Values below zero where the spec says that they mean something, and none where it denies it.

    What is not signed may still be below zero where the layer's own output is.
    """
    if trial.spec.output == "picture":
        return does_not_apply("it gives finished pictures")
    smallest = min((float(maps.min()), layer) for layer, maps in trial.maps.items())
    if trial.spec.signed and not smallest[0] < 0:
        return failed(f"no value below zero (the smallest is {smallest[0]:.3g}), though the spec says signed: no ReLU")
    for layer, maps in trial.maps.items():
        below = layer in trial.outputs and bool(trial.outputs[layer].min() < 0)
        if not trial.spec.signed and not below and float(maps.min()) < 0:
            return failed(f"down to {float(maps.min()):.3g} at {layer}, though the spec denies signed")
    return passed(f"down to {smallest[0]:.3g}")


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
    if trial.spec.output != "picture":
        return does_not_apply("it gives raw maps")
    for layer, maps in trial.maps.items():
        low, high = float(maps.min()), float(maps.max())
        if not (low >= 0 and high <= 1):  # nan is neither
            return failed(f"from {low:.4g} to {high:.4g} at {layer}, not within 0 and 1")
    return passed()

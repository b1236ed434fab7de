"""Verdicts by workers: one explainer with its layers is a unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.contracts import Dataset, ExplainerSpec, Files, Integers, Silence
from bench.data.transforms import prepare
from bench.explaining.batches import named
from bench.explaining.plan import INPUT_LAYER
from bench.explaining.units import Hands, OfRun, spec_of
from bench.judging.verdicts import Case, Inputs, Judging, Maps, Truth, layers_of_all, of_case, same_bits
from bench.memory import Room
from bench.nets.trained import Trained
from bench.schema.verdicts import Verdict
from bench.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class OneCase(OfRun):
    """Verdicts of an explainer at its layers.

    Attributes:
        reference: name and revision of our own Grad-CAM; None where there is none.
        every: the layers of all cases: the reference is asked for all of them at once, wherever it is asked.
        ids: (N,) test ids.
        targets: (N, T) classes.
    """

    explainer: str
    revision: int
    layers: tuple[str, ...]
    reference: tuple[str, int] | None
    every: tuple[str, ...]
    ids: tuple[int, ...]
    targets: tuple[tuple[int, ...], ...]

    @property
    def label(self) -> str:
        """Which verdicts on which run."""
        return f"verdict on {named(self.explainer, self.layers)} of run {self.name}"

    def found(self, trained: Trained, data: Dataset, files: Files) -> tuple[Judging, Maps]:
        """The verdicts with the maps that they are of, and Grad-CAM's maps."""
        workspace, device, room = Workspace(cache=files.cache), trained.device, Room(Silence())
        images = prepare(data.test.images[torch.tensor(self.ids)].to(device), trained.statistics)
        inputs = Inputs(images, torch.tensor(self.targets).to(device))
        case = Case(self.explainer, spec_of(workspace, self.explainer, self.revision), self.layers)
        reference = spec_of(workspace, *self.reference) if self.reference else None
        truth = Truth.of(reference, trained.model, self.every, inputs, room=room)
        judging = of_case(case, truth, trained.model, inputs, room=room)
        return judging, {layer: truth.maps[layer] for layer in self.layers if layer != INPUT_LAYER}


def verdicts_by(
    hands: Hands, cases: Sequence[Case], reference: ExplainerSpec | None, *, ids: Integers, targets: Integers
) -> tuple[Verdict, ...]:
    """What `verdicts` gives, by workers; which explainers have the same bits is seen here.

    Args:
        ids: (N,) test ids.
        targets: (N, T) classes.
    """
    every = layers_of_all(cases)
    units = [
        OneCase(
            **hands.common,
            explainer=case.name,
            revision=case.spec.revision,
            layers=tuple(map(str, case.layers)),
            reference=(reference.name, reference.revision) if reference else None,
            every=every,
            ids=tuple(ids.tolist()),
            targets=tuple(map(tuple, targets.tolist())),
        )
        for case in cases
    ]
    truth: Maps = {}
    found: dict[str, Judging] = {}
    for unit, (judging, maps) in hands.answers(units, "judge"):
        found[unit.explainer] = judging
        truth |= maps
    return same_bits([found[case.name] for case in cases], reference.name if reference else "", truth)

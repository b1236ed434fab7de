"""Who is timed: models and runs by label, explainers on the baseline model, each arm by its name."""

from collections.abc import Mapping, Sequence

import torch

from bench.contracts import ExplainerSpec
from bench.errors import UsageError, did_you_mean
from bench.explaining.plan import Wanted, layers_of
from bench.nets.trained import open_run
from bench.nets.weights import build_seeded, for_inference
from bench.registry.registry import resolved, short
from bench.timing.arms import ArmSpec, Subject
from bench.workspace import Workspace

SHIPPED = "_shipped"  # what the registered finished picture of a library is called behind the explainer's name
CLASSES = 10  # of models with seeded weights


def find_subjects(
    models: Sequence[str], runs: Sequence[str], place: Workspace, device: torch.device
) -> dict[str, Subject]:
    """Every model by the label that arms name it with."""
    names = models or (() if runs else [name for name, one in place.models.entries.items() if one.owner == "bench"])
    found: list[Subject] = []
    for name in names:
        spec = place.models[resolved(name)]
        net = for_inference(build_seeded(spec, CLASSES, 0), device)
        found.append(Subject(short(name), resolved(name), net, spec.input_size))
    for name in runs:
        run = open_run(name, str(device), place)
        found.append(Subject(run.record.name, run.record.model, run.model, run.spec.input_size, run.checkpoint))
    labels = [each.label for each in found]
    for one in found:
        if labels.count(one.label) > 1:
            raise UsageError(
                f"two models are called '{one.label}'", try_="one of them, or a copy of the file by another name"
            )
        if one.input_size != found[0].input_size:
            raise UsageError(
                f"'{one.label}' takes images of {one.input_size} pixels, '{found[0].label}' of "
                f"{found[0].input_size}: rates of different images cannot be compared",
                try_="bench time for each size",
            )
    return {each.label: each for each in found}


def line_up(
    kinds: Sequence[str],
    labels: Sequence[str],
    base: str,
    *,
    wanted: Wanted,
    place: Workspace,
) -> tuple[list[ArmSpec], dict[str, ExplainerSpec]]:
    """Every arm by name, and the explainers that they call.

    Args:
        base: label of the model that explainers are timed on.
        wanted: explainers and layers; none where `kinds` has no explanations.
    """
    found = [ArmSpec("forward", label) for label in labels if "forward" in kinds]
    found += [ArmSpec("train", label) for label in labels if "train" in kinds]
    entries = dict(wanted.specs)
    for name, spec in wanted.specs.items():
        for layer in layers_of(spec, wanted):
            found.append(ArmSpec("explain", base, short(name), layer, name))
            if spec.output != "picture":  # which is the library's own artefact already
                entry = name + SHIPPED if name + SHIPPED in place.explainers else name
                entries[entry] = place.explainers[entry]
                found.append(ArmSpec("shipped", base, short(name), layer, entry))
    return found, entries


def check_baselines(
    baselines: Sequence[str], subjects: Mapping[str, Subject], specs: Mapping[str, ExplainerSpec]
) -> None:
    """UsageError for a baseline that is neither a model nor an explainer that is timed."""
    known = [*subjects, *(short(name) for name in specs)]
    for name in baselines:
        if name not in known:
            raise UsageError(
                f"--baseline {name} is not timed{did_you_mean(name, known)}", try_=f"one of: {', '.join(known)}"
            )

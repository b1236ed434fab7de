"""`bench demo`: the whole line on handwritten digits, offline, with a library's wrong map found on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.commands.compare import compare
from bench.commands.explain import explain
from bench.commands.judge import judge
from bench.commands.train import train
from bench.pages.build import wrong_in_any
from bench.request import CompareRequest, DemoRequest, ExplainRequest, JudgeRequest, TrainRequest
from bench.schema.page import Finding
from bench.store.folder import RunFolder
from bench.store.paths import run_path
from bench.store.runs import find_run
from bench.workspace import Workspace

MODELS = ("cifar_resnet18", "timm_resnet18", "torchvision_resnet18")  # the first from seed 0, the next from 1, ...
EXPLAINERS = ("gradcam", "captum", "gradcam_shipped")
# At the last of them two of the models overwrite what the layer gave, and pytorch-grad-cam's own picture is wrong.
LAYERS = ("layer3", "layer4", "layer4.1.bn2")
ON = "cpu"  # for maps: on a GPU the library copies what the layer gave, and there is nothing to find
TOLD = ("pairs", "verdicts", "speed")  # what findings speak of, by their anchors


@dataclass(frozen=True)
class Demonstrated:
    """What `demo` made: the names of the runs, the comparison page, and three of its findings."""

    runs: tuple[str, ...]
    page: Path
    findings: tuple[Finding, ...]


def demo(request: DemoRequest, workspace: Workspace) -> Demonstrated:
    """Train the three built-in models, explain their errors, find a wrong map, compare all and time them in turns.

    Runs that are there are used again.
    """
    device = request.device
    runs = tuple(_trained(model, seed, device, workspace=workspace) for seed, model in enumerate(MODELS))
    ids = wrong_in_any([RunFolder(find_run(workspace.runs, run)) for run in runs], None).tolist()
    for run in runs:
        explain(ExplainRequest(run, ids=ids, explainer=EXPLAINERS, layer=LAYERS, device=ON), workspace)
        judge(JudgeRequest(run, device=ON), workspace)
    found = compare(CompareRequest(runs, device=device), workspace)
    return Demonstrated(runs, found.page, most_telling(found.values.findings if found.values else ()))


def _trained(model: str, seed: int, device: str, *, workspace: Workspace) -> str:
    """The finished demo run of a model, trained now unless it is there."""
    name = name_of(model)
    folder = run_path(workspace.runs, name)
    if RunFolder(folder).status == "done":
        workspace.progress.say(f"{name} was trained before; bench rm {name} makes it anew")
        return name
    free = None if folder.exists() else name  # one that was interrupted stays as it is
    asked = TrainRequest(model, data="digits", recipe="demo", seed=seed, val=0.0, device=device, run=free)
    return train(asked, workspace).name


def name_of(model: str) -> str:
    """The name of a model's demo run."""
    return f"demo-{model}"


def most_telling(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """One finding each of accuracy, wrong maps and speed, as far as there are such; a difference comes first."""
    kinds = ([one for one in findings if one.anchor == anchor] for anchor in TOLD)
    return tuple(min(kind, key=lambda one: one.link.startswith("No ")) for kind in kinds if kind)

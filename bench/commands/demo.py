"""`bench demo`: the whole line on handwritten digits, offline."""

from dataclasses import dataclass
from pathlib import Path

from bench.commands.compare import compare
from bench.commands.explain import explain
from bench.commands.train import train
from bench.request import CompareRequest, DemoRequest, ExplainRequest, TrainRequest
from bench.store.folder import RunFolder
from bench.store.paths import run_path
from bench.workspace import Workspace

MODELS = ("cifar_resnet18", "timm_resnet18", "torchvision_resnet18")


@dataclass(frozen=True)
class Demonstrated:
    """What `demo` made: the names of the runs, and the comparison page."""

    runs: tuple[str, ...]
    page: Path


def demo(request: DemoRequest, workspace: Workspace) -> Demonstrated:
    """Train the three built-in models, explain their errors, compare them; runs that are there are used again."""
    device = request.device
    runs = tuple(_trained(model, device, workspace) for model in MODELS)
    for run in runs:
        explain(ExplainRequest(run, device=device), workspace)
    return Demonstrated(runs, compare(CompareRequest(runs, device=device), workspace).page)


def _trained(model: str, device: str, workspace: Workspace) -> str:
    """The finished demo run of a model, trained now unless it is there."""
    name = name_of(model)
    folder = run_path(workspace.runs, name)
    if RunFolder(folder).status == "done":
        workspace.progress.say(f"{name} was trained before; bench rm {name} makes it anew")
        return name
    free = None if folder.exists() else name  # one that was interrupted stays as it is
    return train(TrainRequest(model, data="digits", recipe="demo", val=0.0, device=device, run=free), workspace).name


def name_of(model: str) -> str:
    """The name of a model's demo run."""
    return f"demo-{model}"

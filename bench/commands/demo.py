"""`bench demo`: the whole line on handwritten digits, offline."""

from __future__ import annotations

from pathlib import Path

from bench.commands.compare import compare
from bench.commands.explain import explain
from bench.commands.train import train
from bench.store.runs import is_done
from bench.workspace import Workspace

MODELS = ("cifar_resnet18", "timm_resnet18", "torchvision_resnet18")


def demonstrate(*, device: str = "auto", workspace: Workspace | None = None) -> tuple[list[str], Path]:
    """Train the three built-in models, explain their errors, compare them; runs that are there are used again.

    Returns:
        The names of the runs, and the comparison page.
    """
    place = workspace or Workspace()
    names = [_trained(model, device=device, place=place) for model in MODELS]
    for name in names:
        explain(name, device=device, workspace=place)
    return names, compare(*names, device=device, workspace=place).page


def _trained(model: str, *, device: str, place: Workspace) -> str:
    """The finished demo run of a model, trained now unless it is there."""
    name = name_of(model)
    folder = place.runs / name
    if is_done(folder):
        place.progress.say(f"{name} was trained before; bench rm {name} makes it anew")
        return name
    free = None if folder.exists() else name  # one that was interrupted stays as it is
    return train(model, data="digits", recipe="demo", val=0.0, device=device, run=free, workspace=place).name


def name_of(model: str) -> str:
    """The name of a model's demo run."""
    return f"demo-{model}"

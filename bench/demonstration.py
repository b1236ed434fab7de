"""`bench demo`: the whole line on handwritten digits, offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.comparisons import compare
from bench.explanations import explain
from bench.rendering import is_done
from bench.workplace import Workplace

MODELS = ("cifar_resnet18", "timm_resnet18", "torchvision_resnet18")


def run_demo(train: Callable[..., Path], *, device: str, place: Workplace) -> tuple[list[str], Path]:
    """Train the three built-in models, explain their errors, compare them; runs that are there are used again.

    Args:
        train: `bench.train`.

    Returns:
        The names of the runs, and the comparison page.
    """
    names = [_trained(model, train, device=device, place=place) for model in MODELS]
    for name in names:
        explain(name, device=device, workplace=place)
    return names, compare(*names, device=device, workplace=place).page


def _trained(model: str, train: Callable[..., Path], *, device: str, place: Workplace) -> str:
    """The finished demo run of a model, trained now unless it is there."""
    name = name_of(model)
    folder = place.runs / name
    if is_done(folder):
        place.progress.say(f"{name} was trained before; bench rm {name} makes it anew")
        return name
    free = None if folder.exists() else name  # one that was interrupted stays as it is
    return train(model, data="digits", recipe="demo", val=0.0, device=device, run=free, workplace=place).name


def name_of(model: str) -> str:
    """The name of a model's demo run."""
    return f"demo-{model}"

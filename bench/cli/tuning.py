"""Commands that help to choose settings: lr-find."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import Data, Device, ImageSize, Model, Stem
from bench.cli.session import Session, command
from bench.registry.model_names import with_options


@command(app, "lr-find", epilog="bench lr-find --model cifar_resnet18 --recipe course")
def lr_find(
    session: Session,
    model: Model = "cifar_resnet18",
    stem: Stem = None,
    image_size: ImageSize = None,
    data: Data = "cifar10",
    recipe: Annotated[
        str, typer.Option(help="Whose optimiser and batch size; one of `bench list recipes`.")
    ] = "course",
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Instead of the recipe's.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd or adamw, instead of the recipe's.")] = None,
    steps: Annotated[int, typer.Option(help="How many rates, from 1e-7 up.")] = 100,
    highest: Annotated[float, typer.Option(help="The largest rate.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Curve to draw, .png or .pdf; else in runs/show/.")] = None,
) -> Answer:
    """A learning-rate range test: where the loss falls fastest, as a curve. Trains nothing that is kept."""
    from bench import api

    found, path = api.find_learning_rate(
        with_options(model, size=image_size, stem=stem), data=data, recipe=recipe, batch_size=batch_size,
        optimizer=optimizer, steps=steps, highest=highest, seed=seed, device=device, out=out, workspace=session.place,
    )  # fmt: skip
    if found.at_edge:
        session.teller.warn("the suggestion lies at an edge of the curve: try another --highest, or do not use it")
    value = {"suggestion": found.suggestion, "at_edge": found.at_edge, "rates": list(found.rates),
             "losses": list(found.losses), "curve": str(path.resolve())}  # fmt: skip
    line = f"the loss falls fastest at a learning rate of {found.suggestion:.2g}"
    return Answer(value, (line, str(path.resolve())))

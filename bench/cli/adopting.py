"""The command that takes in weights trained elsewhere: adopt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import Data, Device, ImageSize, Model, Open, SkipBad, Stem, parse_names, parse_values
from bench.cli.session import Session, command
from bench.cli.working import result_lines, result_value
from bench.registry.model_names import with_options


@command(app, "adopt", epilog="bench adopt --weights ckpt.pth --model cifar_resnet18 --data cifar10")
def adopt(
    session: Session,
    weights: Annotated[Path, typer.Option("--weights", help="A .pt, .pth or .safetensors file.")],
    model: Model = "cifar_resnet18",
    stem: Stem = None,
    image_size: ImageSize = None,
    data: Data = "cifar10",
    classes: Annotated[
        str | None, typer.Option(help="Names of the outputs in their order, with commas, or a file, one a line.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="What the images were normalised with, one value or R,G,B.")] = None,
    std: Annotated[str | None, typer.Option(help="The same for the deviation.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Name of the new run.")] = None,
    device: Device = "auto",
    skip_bad: SkipBad = False,
    convert: Annotated[
        Path | None, typer.Option(help="Only take the tensors out of a full pickle into this .safetensors file.")
    ] = None,
    open_: Open = False,
) -> Answer:
    """Make a run of weights that were trained elsewhere, and test it. Nothing of the file is run."""
    from bench.commands.adopt import adopt as make
    from bench.nets.foreign_weights import convert_pickle
    from bench.store.runs import REPORT

    if convert is not None:
        count, path = convert_pickle(weights, convert), str(convert.resolve())
        return Answer({"tensors": count, "weights": path}, (f"{count} tensors, nothing of {weights} was run", path))
    found = make(
        weights, model=with_options(model, size=image_size, stem=stem), data=data,
        classes=parse_names("--classes", classes), mean=parse_values("--mean", mean), std=parse_values("--std", std),
        run=run, device=device, skip_bad=skip_bad, workspace=session.place,
    )  # fmt: skip
    lines = (
        *result_lines(found.run),
        f"next: bench explain --run {found.run.name}",
        str((found.run / REPORT).resolve()),
    )
    value = {**result_value(found.run), "warnings": list(found.warnings)}
    return Answer(value, lines, str(found.run / REPORT))

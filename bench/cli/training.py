"""The command that trains, with every ingredient of the loop as a switch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import Data, Device, DryRun, Model, Open, SkipBad
from bench.cli.session import Session, command
from bench.cli.working import result_lines, result_value

RECIPE = "Instead of the recipe's"


def _instead(help: str, *names: str) -> Any:  # noqa: ANN401 (Typer's own)
    return typer.Option(*names, help=help, rich_help_panel=RECIPE)


@command(app, "train", epilog="bench train --model cifar_resnet18 --limit 10000 --recipe cpu")
def train(
    session: Session,
    model: Model = "cifar_resnet18",
    data: Data = "cifar10",
    recipe: Annotated[str, typer.Option(help="One of `bench list recipes`, or FILE.toml.")] = "course",
    seed: Annotated[int, typer.Option(help="Of weights, order, augmentation and split.")] = 0,
    val: Annotated[float, typer.Option(help="Share of the training images kept for the curves; 0: none.")] = 0.1,
    limit: Annotated[int | None, typer.Option(help="Train on N images, balanced by class.")] = None,
    init: Annotated[str, typer.Option(help="native, or shared: one initialisation for all models.")] = "native",
    pretrained: Annotated[str | None, typer.Option(help="imagenet, a run, or a checkpoint.safetensors.")] = None,
    device: Device = "auto",
    compile_: Annotated[bool, typer.Option("--compile/--no-compile", help="Through torch.compile.")] = False,
    run: Annotated[str | None, typer.Option("--run", help="Name of the new run.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with an unfinished run: its name, or latest.")] = None,
    skip_bad: SkipBad = False,
    dry_run: DryRun = False,
    open_: Open = False,
    epochs: Annotated[int | None, _instead("Passes over the training images.")] = None,
    batch_size: Annotated[int | None, _instead("Images a step.")] = None,
    optimizer: Annotated[str | None, _instead("sgd or adamw.")] = None,
    lr: Annotated[float | None, _instead("Peak learning rate.")] = None,
    lr_start: Annotated[float | None, _instead("First rate, as a share of the peak.")] = None,
    lr_end: Annotated[float | None, _instead("Last rate, as a share of the peak.")] = None,
    warm_up: Annotated[float | None, _instead("Share of the steps until the peak.")] = None,
    momentum: Annotated[float | None, _instead("Of SGD.")] = None,
    weight_decay: Annotated[float | None, _instead("On all parameters.")] = None,
    norm_decay: Annotated[
        bool | None, _instead("Weight decay on the scales of batch norms, too.", "--norm-decay/--no-norm-decay")
    ] = None,
    bias_scale: Annotated[
        float | None, _instead("Rate of norm and head biases, in multiples; their decay divided.")
    ] = None,
    label_smoothing: Annotated[float | None, _instead("Share of a label spread over all classes.")] = None,
    bn_momentum: Annotated[float | None, _instead("Share of a new batch in running statistics.")] = None,
    lookahead: Annotated[int | None, _instead("Steps between looks of the slow weights; 0: none.")] = None,
    whiten: Annotated[bool | None, _instead("Start the stem from the images' patches.", "--whiten/--no-whiten")] = None,
    zero_init: Annotated[bool | None, _instead("Start residual branches at 0.", "--zero-init/--no-zero-init")] = None,
    sizes: Annotated[str | None, _instead("Smaller images first: EDGE:SHARE,... of the epochs, or full.")] = None,
    flip: Annotated[str | None, _instead("none, random or alternating.")] = None,
    translate: Annotated[int | None, _instead("Pixels of reflected border to crop from.")] = None,
    cutout: Annotated[int | None, _instead("Edge in pixels of the square left out.")] = None,
    precision: Annotated[str | None, _instead("auto, fp32 or bf16.")] = None,
) -> Answer:
    """Train a model, test it once at the end, and keep everything in a run folder."""
    from bench import api
    from bench.store import REPORT

    folder = api.train(
        model, data=data, recipe=recipe, seed=seed, val=val, limit=limit, init=init, pretrained=pretrained,
        device=device, compile=compile_, run=run, resume=resume, skip_bad=skip_bad, dry_run=dry_run,
        workplace=session.place,
        epochs=epochs, batch_size=batch_size, optimizer=optimizer, lr=lr, lr_start=lr_start, lr_end=lr_end,
        warm_up=warm_up, momentum=momentum, weight_decay=weight_decay, norm_decay=norm_decay, bias_scale=bias_scale,
        label_smoothing=label_smoothing, bn_momentum=bn_momentum, lookahead=lookahead, whiten=whiten,
        zero_init=zero_init, sizes=sizes, flip=flip, translate=translate, cutout=cutout, precision=precision,
    )  # fmt: skip
    if dry_run:
        return Answer({"planned": True}, ())
    lines = (*result_lines(folder), "next: bench explain", str((folder / REPORT).resolve()))
    return Answer(result_value(folder), lines, str(folder / REPORT))

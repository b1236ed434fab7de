"""The command that trains, with every ingredient of the loop as a switch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import Data, Device, DryRun, ImageSize, Models, Open, SkipBad, Stem, parse_rates, split_names
from bench.cli.session import Session, command
from bench.cli.working import result_lines, result_value
from bench.errors import UsageError
from bench.registry.model_names import with_options

if TYPE_CHECKING:
    from bench.commands.sweep import Group, Sweep

DEFAULT = "cifar_resnet18"
RECIPE = "Instead of the recipe's"


def _instead(help: str, *names: str, metavar: str | None = None) -> Any:  # noqa: ANN401 (Typer's own)
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=RECIPE)


@command(app, "train", epilog="bench train --model cifar_resnet18 --limit 10000 --recipe cpu")
def train(
    session: Session,
    model: Models = None,
    stem: Stem = None,
    image_size: ImageSize = None,
    data: Data = "cifar10",
    recipe: Annotated[str, typer.Option(help="One of `bench list recipes`, or FILE.toml.")] = "course",
    seed: Annotated[int, typer.Option(help="Of weights, order, augmentation and split.")] = 0,
    seeds: Annotated[int, typer.Option(help="Train N runs, of consecutive seeds.")] = 1,
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
    optimizer: Annotated[list[str] | None, _instead("sgd or adamw. Repeats.", metavar="<str>")] = None,
    lr: Annotated[list[str] | None, _instead("Peak learning rate. Repeats.", metavar="<float>")] = None,
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
    """Train a model, test it once at the end, and keep everything in a run folder. Or several: see --seeds."""
    from bench import api
    from bench.store.runs import REPORT

    shared: dict[str, Any] = {
        "data": data, "recipe": recipe, "seed": seed, "val": val, "limit": limit, "init": init,
        "pretrained": pretrained, "device": device, "compile": compile_, "run": run, "resume": resume,
        "skip_bad": skip_bad, "dry_run": dry_run, "epochs": epochs, "batch_size": batch_size, "lr_start": lr_start,
        "lr_end": lr_end, "warm_up": warm_up, "momentum": momentum, "weight_decay": weight_decay,
        "norm_decay": norm_decay, "bias_scale": bias_scale, "label_smoothing": label_smoothing,
        "bn_momentum": bn_momentum, "lookahead": lookahead, "whiten": whiten, "zero_init": zero_init, "sizes": sizes,
        "flip": flip, "translate": translate, "cutout": cutout, "precision": precision, "workspace": session.place,
    }  # fmt: skip
    names = [with_options(each, size=image_size, stem=stem) for each in split_names(model) or [DEFAULT]]
    models, optimizers, rates = (
        _each(names) if model or names != [DEFAULT] else [],
        _each(split_names(optimizer)),
        _each(parse_rates(lr)),
    )
    beside = [name for name in ("stem", "image_size") if session.origins.get(name) == "flag"]
    if resume is not None and beside:
        raise UsageError(
            f"--{beside[0].replace('_', '-')} beside --resume: a run goes on with the settings it has",
            try_=f"bench train --resume {resume}, or a new run without --resume",
        )
    if resume is not None and session.origins.get("seeds") != "flag":
        seeds = 1  # variables and bench.toml speak of new runs
    if seeds != 1 or max(len(models), len(optimizers), len(rates)) > 1:
        found = api.sweep(models or DEFAULT, seeds=seeds, optimizer=optimizers, lr=rates, **shared)
        return Answer({"planned": True}, ()) if dry_run else sweep_answer(found, session.runs)
    one: dict[str, Any] = {"optimizer": next(iter(optimizers), None), "lr": next(iter(rates), None)}
    folder = api.train(next(iter(models), DEFAULT), **one, **shared)
    if dry_run:
        return Answer({"planned": True}, ())
    lines = (*result_lines(folder), "next: bench explain", str((folder / REPORT).resolve()))
    return Answer(result_value(folder), lines, str(folder / REPORT))


def _each(values: list[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


# --- several runs -------------------------------------------------------------------------------------------


def sweep_answer(found: Sweep, runs: Path) -> Answer:
    """A sweep: a line for each combination, which runs it has, what failed, and how to see them side by side."""
    lines: list[Any] = [_table(found)]
    for group in found.groups:
        if len(group.runs) > 1:
            lines.append(f"{_name(group)}: {' '.join(run.name for run in group.runs)}")
        else:
            lines += [line for run in group.runs for line in result_lines(run)]
    lines += [
        f"failed: {_name(group)}, seed {each.seed}: {each.error.message}"
        for group in found.groups
        for each in group.failures
    ]
    if len(found.runs) > 1:
        where = [] if runs == Path("runs") else ["--runs-dir", str(runs)]
        lines.append("next: " + shlex.join(["bench", "compare", *(run.name for run in found.runs), *where]))
    value = {
        "runs": [result_value(run) for run in found.runs],
        "summaries": [_summary(group) for group in found.groups],
    }
    return Answer(value, tuple(lines), failure=found.failure)


def _name(group: Group) -> str:
    from bench.registry.registry import short

    return f"{short(group.model)}, {group.optimizer}, lr {group.lr:g}"


def _table(found: Sweep) -> Table:
    from bench.registry.registry import short

    table = Table(title="accuracy % on the test images, over seeds", title_justify="left", box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("optimizer")
    for head in ("lr", "n", "mean", "s.d.", "95 % interval"):
        table.add_column(head, justify="right", no_wrap=True)
    for group in found.groups:
        ends = group.interval
        table.add_row(
            escape(short(group.model)), group.optimizer, f"{group.lr:g}", str(len(group.runs)),
            _percent(group.mean), _percent(group.deviation),
            f"{_percent(ends.low)} to {_percent(ends.high)}" if ends else "–",
        )  # fmt: skip
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"


def _summary(group: Group) -> dict[str, object]:
    ends = group.interval
    return {
        "model": group.model, "optimizer": group.optimizer, "lr": group.lr, "n": len(group.runs),
        "mean": group.mean, "sd": group.deviation, "interval": [ends.low, ends.high] if ends else None,
        "runs": [run.name for run in group.runs],
        "failures": [{"seed": each.seed, "message": each.error.message} for each in group.failures],
    }  # fmt: skip

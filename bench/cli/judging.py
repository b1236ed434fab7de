"""Which maps can be trusted: judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import Device, DryRun, Explainers, Layers, Moved, split_names
from bench.cli.session import Session, command
from bench.errors import ThresholdError, UsageError
from bench.schema.verdicts import why

if TYPE_CHECKING:
    from bench.schema.verdicts import Verdict

STYLES = {"wrong": "bold red", "failed": "red", "other recipe": "yellow", "another method": "dim"}


@command(app, "judge", epilog="bench judge latest --explainer gradcam --layer layer4.1.bn2")
def judge(
    session: Session,
    run: Annotated[str, typer.Argument(help="Name, latest, or path.")] = "latest",
    explainer: Explainers = None,
    layer: Layers = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Images of the sample; none for 8, with --faithfulness 200.")
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option("--faithfulness", help="What happens when parts of the image are covered: scores, not verdicts."),
    ] = False,
    sanity: Annotated[
        int, typer.Option("--sanity", min=0, help="With --faithfulness: images explained again with scrambled weights.")
    ] = 50,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when a map is wrong or an explainer fails.")] = False,
    moved: Moved = None,
    device: Device = "auto",
    dry_run: DryRun = False,
) -> Answer:
    """Hold every cell against Grad-CAM in float64: same, another recipe, another method, or wrong, and why."""
    from bench import api
    from bench.cli.faithwords import faithfulness_answer

    options: dict[str, Any] = {
        "explainer": split_names(explainer) or None, "layer": split_names(layer) or None, "data": moved,
        "device": device,
    }  # fmt: skip
    if faithfulness:
        return faithfulness_answer(session, run, limit=limit or 200, sanity=sanity, dry_run=dry_run, **options)
    if dry_run:
        raise UsageError("--dry-run is for scores", try_="bench judge --faithfulness --dry-run")
    done = api.judge(run, limit=limit or 8, **options, workspace=session.place)
    found = done.judgement
    path = str(done.path.resolve())
    bad = [one for one in found.verdicts if one.verdict in ("wrong", "failed")]
    failure = ThresholdError(f"{len(bad)} of {len(found.verdicts)} are wrong or failed") if strict and bad else None
    value = {**asdict(found), "path": path}
    lines = [sentence(one, found.run) for one in bad]
    return Answer(value, (_table(found.run, found.verdicts), *lines, path), failure=failure)


def sentence(one: Verdict, run: str) -> str:
    """What is wrong, and what to do instead."""
    from bench.registry.registry import short

    if one.verdict == "failed":
        return f"{short(one.explainer)} at {one.layer} failed: {one.words}. Instead: {one.instead}."
    command = f"bench explain --run {run} --explainer reference --layer {one.layer}"
    return f"{short(one.explainer)} at {one.layer} is wrong: {one.words}. Instead: {one.instead}. Try: {command}"


def _table(run: str, verdicts: Sequence[Verdict]) -> Table:
    table = Table(title=f"verdicts on {run}, in float64", title_justify="left")
    table.add_column("explainer", no_wrap=True)
    table.add_column("layer", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=1)
    for head in ("largest difference", "moved by rounding", "images"):
        table.add_column(head, justify="right")
    for names, one in row_list(verdicts):
        style = STYLES.get(one.verdict, "green")
        table.add_row(
            escape(names), escape(one.layer), f"[{style}]{one.verdict}[/]", escape(why(one)), size(one.difference),
            size(one.moved), str(one.images),
        )  # fmt: skip
    return table


def row_list(verdicts: Sequence[Verdict]) -> list[tuple[str, Verdict]]:
    """One row each, by layer; methods that equal Grad-CAM at a layer for one reason share a row."""
    from bench.registry.registry import short

    rows: dict[Any, list[Verdict]] = {}
    layers = list(dict.fromkeys(one.layer for one in verdicts))
    for place, one in enumerate(sorted(verdicts, key=lambda one: layers.index(one.layer))):
        alike = one.verdict == "another method" and bool(one.words)
        key = (one.layer, one.words) if alike else place
        rows.setdefault(key, []).append(one)
    return [(" = ".join(short(one.explainer) for one in alike), _most_apart(alike)) for alike in rows.values()]


def _most_apart(alike: Sequence[Verdict]) -> Verdict:
    """The one that is farthest from Grad-CAM stands for all of its row, with the most that rounding moves any."""
    moved = [one.moved for one in alike if one.moved is not None]
    farthest = max(alike, key=lambda one: one.difference or 0.0)
    return replace(farthest, moved=max(moved, default=None))


def size(value: float | None) -> str:
    """A relative size with two digits; an en dash for none."""
    if value is None:
        return "–"
    return f"{value:.2g}" if value == 0 or value >= 0.01 else f"{value:.1e}"

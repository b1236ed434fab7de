"""Commands that try plug-ins: verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import Layers, Moved, split_names
from bench.cli.session import Session, command
from bench.errors import ThresholdError

if TYPE_CHECKING:
    from bench.commands.verify import Verified

COLOURS = {"passed": "green", "failed": "bold red", "not applicable": "dim"}


@command(app, "verify", epilog="bench verify ./mine.py:explain")
def verify(
    session: Session,
    explainer: Annotated[list[str], typer.Argument(help="Names, FILE.py:NAME (runs that file), or all.")],
    run: Annotated[str | None, typer.Option("--run", help="A run's model and images, not the small net.")] = None,
    layer: Layers = None,
    moved: Moved = None,
) -> Answer:
    """Try whether an explainer keeps the contract: nothing left behind, raw means raw, batches, targets, Grad-CAM."""
    from bench import api

    found = api.verify(
        split_names(explainer), run=run, layer=split_names(layer) or None, data=moved, workspace=session.place
    )
    broken = [words for words in map(reasons, found) if words]
    hint = "docs/add-an-explainer.md says what each check asks for"
    failure = ThresholdError("; ".join(broken), try_=hint) if broken else None
    table = checks_table(found[0]) if len(found) == 1 else summary_table(found)
    return Answer({"explainers": [as_value(one) for one in found]}, (table, result_line(found)), failure=failure)


def reasons(one: Verified) -> str:
    """Every check that failed, each with its value; empty where all hold."""
    words = "; ".join(f"{each.name}: {each.words}" for each in one.failures)
    return f"{one.explainer} fails {len(one.failures)} of {len(one.outcomes)} checks ({words})" if words else ""


def as_value(one: Verified) -> dict[str, object]:
    """One explainer for `--json`."""
    checks = [{"name": each.name, "status": each.status, "words": each.words} for each in one.outcomes]
    return {
        "explainer": one.explainer, "passed": not one.failures, "layers": list(one.layers), "seconds": one.seconds,
        "checks": checks,
    }  # fmt: skip


def checks_table(one: Verified) -> Table:
    """One row a check."""
    table = Table(title=f"{escape(one.explainer)} at {', '.join(map(escape, one.layers))}", title_justify="left")
    table.add_column("check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for each in one.outcomes:
        table.add_row(each.name, f"[{COLOURS[each.status]}]{each.status}[/]", escape(each.words))
    return table


def summary_table(found: tuple[Verified, ...]) -> Table:
    """One row an explainer."""
    table = Table(title="checks by explainer", title_justify="left")
    table.add_column("explainer", no_wrap=True)
    for head in ("passed", "failed", "not applicable", "seconds"):
        table.add_column(head, justify="right")
    table.add_column("layers")
    table.add_column("fails at", overflow="fold")
    for one in found:
        counts = [sum(each.status == status for each in one.outcomes) for status in COLOURS]
        figures = [f"[{COLOURS['failed']}]{count}[/]" if index == 1 and count else str(count)
                   for index, count in enumerate(counts)]  # fmt: skip
        names = ", ".join(each.name for each in one.failures) or "–"
        table.add_row(escape(one.explainer), *figures, f"{one.seconds:.1f}", ", ".join(map(escape, one.layers)), names)
    return table


def result_line(found: tuple[Verified, ...]) -> str:
    """The result in one line."""
    kept = sum(not one.failures for one in found)
    checks = sum(len(one.outcomes) for one in found)
    seconds = sum(one.seconds for one in found)
    return f"{kept} of {len(found)} keep the contract: {checks} checks in {seconds:.0f} s"

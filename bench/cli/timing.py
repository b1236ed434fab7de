"""The command that times: time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import Device, Explainers, Layers, RunNames, split_names
from bench.cli.session import Session, command
from bench.errors import ThresholdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.schema.timing import ArmTiming, Timing
    from bench.timing.thresholds import Judged

HEADS = ("rate", "interval", "p10 to p90", "n", "spread", "batch 1, ms", "peak MB", "GFLOP", "of limit", "ratio")
COLOURS = {"steady": "", "noisy": "yellow", "unusable": "red"}
Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="Registered name, or FILE.py:NAME; weights from a seed. Repeats.", metavar="<str>"),
]


@command(app, "time", epilog="bench time --model cifar_resnet18,timm_resnet18 --what forward --rounds 12")
def time_(
    session: Session,
    model: Models = None,
    run: RunNames = None,
    what: Annotated[
        list[str] | None, typer.Option("--what", help="forward, train, explain; default all. Repeats.")
    ] = None,
    explainer: Explainers = None,
    layer: Layers = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Images a call.")] = 64,
    rounds: Annotated[int, typer.Option(help="Rounds; each gives one figure an arm.")] = 12,
    budget: Annotated[str, typer.Option(help="Time for all of it: 90s, 5m, 1h. Fewer rounds, never under 6.")] = "5m",
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Model or explainer to compare with; else the first. Repeats."),
    ] = None,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory too.")] = True,
    fail_if: Annotated[
        list[str] | None, typer.Option("--fail-if", help='"forward\\[a] < 0.9 * forward\\[b]": exit 3. Repeats.')
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A threshold that is undecided fails, too.")] = False,
    device: Device = "auto",
) -> Answer:
    """Time models and explainers in turns: rates with intervals, paired ratios, the machine's own limit."""
    from bench import api
    from bench.timing.thresholds import broken, judge

    done = api.measure(
        split_names(model) or None, run=split_names(run) or None, what=split_names(what) or api.WHATS,
        explainer=split_names(explainer) or None, layer=split_names(layer) or None, batch_size=batch_size,
        rounds=rounds, budget=budget, baseline=split_names(baseline), memory=memory, fail_if=fail_if or (),
        device=device, workspace=session.place,
    )  # fmt: skip
    for note in done.timing.notes:
        session.teller.warn(note)
    judged = [judge(each, done.timing) for each in done.thresholds]
    path = str(done.path.resolve())
    value = {
        **dataclasses.asdict(done.timing),
        "path": path,
        "thresholds": [
            {"threshold": each.threshold.text, "outcome": each.outcome, "words": each.words} for each in judged
        ],
    }
    lines = (*tables(done.timing), *(f"{each.threshold.text}: {each.outcome}; {each.words}" for each in judged), path)
    return Answer(value, lines, failure=_failure(broken(judged, strict=strict)))


def _failure(broken: Sequence[Judged]) -> ThresholdError | None:
    if not broken:
        return None
    words = "; ".join(f"{each.threshold.text} {_said(each)}: {each.words}" for each in broken)
    return ThresholdError(words, try_="bench time with more --rounds and --budget, where the interval is wide")


def _said(judged: Judged) -> str:
    return "is undecided, and --strict was asked for" if judged.outcome == "undecided" else "holds"


def tables(timing: Timing) -> list[Any]:
    """One table of the arms and one of the machine's limits."""
    limits = [arm for arm in timing.arms if arm.what in ("product", "copy")]
    head = f"timing {timing.id}: {timing.device}, batch {timing.batch_size}, {timing.memory_format}"
    return [_arms(head, [arm for arm in timing.arms if arm not in limits]), *(_limit(arm) for arm in limits)]


def _arms(title: str, arms: Sequence[ArmTiming]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("images/s of", overflow="fold")
    for head in HEADS:
        table.add_column(head, justify="right")
    for arm in arms:
        name, style = (arm.name, COLOURS[arm.grade]) if arm.settled else (f"{arm.name}, unsettled", "dim")
        table.add_row(escape(name), *(escape(each) for each in cells(arm)), style=style)
    return table


def cells(arm: ArmTiming) -> tuple[str, ...]:
    """The figures of an arm as people read them, in the order of HEADS."""
    from bench.pages.speed_sentences import ratio_words
    from bench.stats.rates import interval_words, number_words

    return (
        number_words(arm.rate, arm.low, arm.high),
        interval_words(arm.rate, arm.low, arm.high),
        interval_words(arm.rate, arm.p10, arm.p90),
        str(arm.n),
        f"{100 * arm.spread:.1f} %",
        "–" if arm.latency_ms is None else f"{arm.latency_ms:.3g}",
        "–" if arm.memory_mb is None else f"{arm.memory_mb:,.0f}",
        _gflop(arm),
        "–" if arm.of_product is None else f"{100 * arm.of_product:.0f} %",
        ratio_words(arm.ratio),
    )


def _gflop(arm: ArmTiming) -> str:
    if arm.gflop is None:
        return "–"
    return f"{arm.gflop:.3g}" + (f" (floor {arm.floor_gflop:.3g})" if arm.floor_gflop is not None else "")


def _limit(arm: ArmTiming) -> str:
    from bench.stats.rates import interval_words, number_words

    low, high = (None if each is None else each / 1e9 for each in (arm.low, arm.high))
    unit = "GFLOP/s" if arm.unit == "FLOP" else "GB/s"
    what = f"limit by {arm.mode}, {arm.precision}" if arm.what == "product" else f"limit by {arm.mode}"
    rate = arm.rate / 1e9
    return f"{what}: {number_words(rate, low, high)} {unit}, interval {interval_words(rate, low, high)}"

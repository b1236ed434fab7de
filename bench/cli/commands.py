"""One function a verb: a request in, one call, and an answer for a reader and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import tables
from bench.cli.console import Answer
from bench.cli.session import Session
from bench.errors import ThresholdError, UsageError
from bench.fields import names
from bench.request import (
    AdoptRequest,
    CompareRequest,
    DemoRequest,
    EvaluateRequest,
    ExplainPicturesRequest,
    ExplainRequest,
    ExportRequest,
    FaithfulnessRequest,
    JudgeRequest,
    LrFindRequest,
    ReportRequest,
    TimeRequest,
    TrainRequest,
    VerifyRequest,
)
from bench.store.paths import report_path, run_path, scores_path
from bench.store.runs import find_run, read_record

if TYPE_CHECKING:
    from bench.timing.thresholds import ThresholdResult

PLANNED = Answer({"planned": True}, ())


# --- start --------------------------------------------------------------------------------------------------


def demo(request: DemoRequest, session: Session) -> Answer:
    """What the three runs got, and their page."""
    from bench.commands.demo import demo as run

    found = run(request, session.workspace)
    lines = [line for name in found.runs for line in tables.result_lines(run_path(session.runs, name))]
    path = str(found.page.resolve())
    return Answer({"runs": list(found.runs), "page": path}, (*lines, path), path)


def train(request: TrainRequest, session: Session) -> Answer:
    """What a training got, or several did."""
    from bench.commands.sweep import sweep
    from bench.commands.train import train as run

    if request.resume is None and len(request.trainings()) > 1:
        found = sweep(request, session.workspace)
        return PLANNED if request.dry_run else tables.sweep_answer(found, session.runs)
    folder = run(request, session.workspace)
    return PLANNED if request.dry_run else _of_new_run(folder, ExplainRequest(), session)


def adopt(request: AdoptRequest, session: Session) -> Answer:
    """What adopted weights got; or only their tensors in a file that can be read."""
    from bench.commands.adopt import adopt as run
    from bench.nets.foreign_weights import convert_pickle

    if request.convert is not None:
        count, path = (
            convert_pickle(request.weights, request.convert, request.weights_key),
            str(request.convert.resolve()),
        )
        line = f"{count} tensors, nothing of {request.weights} was run"
        return Answer({"tensors": count, "weights": path}, (line, path))
    found = run(request, session.workspace)
    return _of_new_run(found.run, ExplainRequest(found.run.name), session, warnings=list(found.warnings))


def _of_new_run(folder: Path, following: ExplainRequest, session: Session, **more: object) -> Answer:
    page, line = str(report_path(folder).resolve()), f"next: {following.command(session.runs)}"
    return Answer({**tables.result_value(folder), **more}, (*tables.result_lines(folder), line, page), page)


# --- look ---------------------------------------------------------------------------------------------------


def explain(request: ExplainRequest | ExplainPicturesRequest, session: Session) -> Answer:
    """The cells of every run that was asked for, or the pages of one's own pictures."""
    from bench.commands.explain import explain as run
    from bench.commands.explain import runs_of

    workspace = session.workspace
    if isinstance(request, ExplainPicturesRequest):
        return _explain_pictures(request, session)
    runs = runs_of(request, workspace)
    done = [run(dataclasses.replace(request, run=name, model=()), workspace) for name in runs]
    lines: list[Any] = [tables.cells_table(one.run.name, one.cells) for one in done if one.cells]
    value = {"runs": [{"run": one.run.name, "images": one.images, "report": str(one.report.resolve()), "cells": [
        {"explainer": cell.explainer, "layer": cell.layer, "rows": cell.rows, "computed": cell.computed,
         "images_per_second": cell.rate} for cell in one.cells]} for one in done]}  # fmt: skip
    pages = [str(one.report.resolve()) for one in done]
    return Answer(value, (*lines, *pages), pages[-1])


def _explain_pictures(request: ExplainPicturesRequest, session: Session) -> Answer:
    """Own pictures, of every run that was named."""
    from bench.commands.explain_pictures import explain_pictures

    runs = names(request.run)
    done = [explain_pictures(dataclasses.replace(request, run=name), session.workspace) for name in runs]
    lines = [
        f"{one.file}: {one.top[0][0]} {one.top[0][1]:.1%} ({'; '.join(one.done)})"
        for each in done
        for one in each.pictures
    ]
    pages = [str(each.page.resolve()) for each in done]
    value = {"pages": pages, "pictures": [
        {"file": one.file, "done": list(one.done), "top": [{"class": name, "probability": share}
         for name, share in one.top]} for each in done for one in each.pictures]}  # fmt: skip
    return Answer(value, (*lines, *pages), pages[-1])


def compare(request: CompareRequest, session: Session) -> Answer:
    """The page of a comparison."""
    from bench.commands.compare import compare as run

    done = run(request, session.workspace)
    if request.dry_run:
        return PLANNED
    path = str(done.page.resolve())
    return Answer({"page": path, "twin": str(done.twin.resolve())}, (path,), path)


def report(request: ReportRequest, session: Session) -> Answer:
    """The pages that were rendered again."""
    from bench.commands.report import report as run

    pages = [str(page.resolve()) for page in run(request, session.workspace)]
    if not pages:
        raise UsageError(f"no finished run in {session.runs}", try_="bench train --model cifar_resnet18")
    return Answer({"pages": pages}, tuple(pages), pages[-1])


def export(request: ExportRequest, session: Session) -> Answer:
    """The figure that was drawn."""
    from bench.commands.export import export as run

    drawn = run(request, session.workspace)
    path = str(request.figure.resolve())
    return Answer({"figure": path, "ids": list(drawn)}, (f"{len(drawn)} images", path))


# --- trust --------------------------------------------------------------------------------------------------


def judge(request: JudgeRequest | FaithfulnessRequest, session: Session) -> Answer:
    """The verdicts on a run's cells, or the scores of its explainers."""
    from bench.commands.faithfulness import faithfulness
    from bench.commands.judge import judge as run

    if isinstance(request, FaithfulnessRequest):
        scores = faithfulness(request, session.workspace)
        return tables.scores_answer(scores, scores_path(find_run(session.runs, request.run)))
    done = run(request, session.workspace)
    found, path = done.judgement, str(done.path.resolve())
    bad = [one for one in found.verdicts if one.verdict in ("wrong", "failed")]
    broken = request.strict and bad
    failure = ThresholdError(f"{len(bad)} of {len(found.verdicts)} are wrong or failed") if broken else None
    table = tables.verdicts_table(found.run, found.verdicts)
    words = [tables.sentence(one, found.run, session.runs) for one in bad]
    return Answer({**dataclasses.asdict(found), "path": path}, (table, *words, path), failure=failure)


def time_(request: TimeRequest, session: Session) -> Answer:
    """A timing's tables, and whether its thresholds hold."""
    from bench.commands.timing import measure
    from bench.timing.thresholds import broken

    done = measure(request, session.workspace)
    for note in done.timing.notes:
        session.teller.warn(note)
    path = str(done.path.resolve())
    value = {
        **dataclasses.asdict(done.timing),
        "path": path,
        "thresholds": [
            {"threshold": each.threshold.text, "outcome": each.outcome, "words": each.words} for each in done.thresholds
        ],
    }
    words = [f"{each.threshold.text}: {each.outcome}; {each.words}" for each in done.thresholds]
    lines: list[Any] = [*tables.timing_tables(done.timing), *words, path]
    return Answer(value, (*lines,), failure=_failure(broken(done.thresholds, strict=request.strict)))


def _failure(broken: Sequence[ThresholdResult]) -> ThresholdError | None:
    if not broken:
        return None
    words = "; ".join(f"{each.threshold.text} {_outcome(each)}: {each.words}" for each in broken)
    return ThresholdError(words, try_="bench time with more --rounds and --budget, where the interval is wide")


def _outcome(result: ThresholdResult) -> str:
    return "is undecided, and --strict was asked for" if result.outcome == "undecided" else "holds"


def verify(request: VerifyRequest, session: Session) -> Answer:
    """What the conformance kit found."""
    from bench.commands.verify import verify as run

    found = run(request, session.workspace)
    broken = [words for words in map(tables.reasons, found) if words]
    hint = "docs/add-an-explainer.md says what each check asks for"
    failure = ThresholdError("; ".join(broken), try_=hint) if broken else None
    table = tables.checks_table(found[0]) if len(found) == 1 else tables.checks_summary(found)
    value = {"explainers": [tables.as_value(one) for one in found]}
    return Answer(value, (table, tables.checks_line(found)), failure=failure)


def evaluate(request: EvaluateRequest, session: Session) -> Answer:
    """What a run's weights got when they were tested again, and whether its thresholds hold."""
    from bench.commands.evaluate import evaluate as run
    from bench.evaluation import FIGURES, broken_threshold, read_averages

    scores = run(request, session.workspace)
    folder = find_run(session.runs, request.run)
    figures = {"accuracy": scores.accuracy, "loss": scores.loss}
    averages = read_averages(read_record(folder).results, scores.total)
    figures |= {FIGURES[each.name]: each.accuracy.value for each in averages}
    broken = [words for words in (broken_threshold(each, figures) for each in names(request.fail_if)) if words]
    failure = ThresholdError("; ".join(broken), try_=f"bench show run {folder.name}") if broken else None
    return Answer(tables.result_value(folder), tables.run_lines(folder), failure=failure)


# --- around -------------------------------------------------------------------------------------------------


def lr_find(request: LrFindRequest, session: Session) -> Answer:
    """Where the loss falls fastest."""
    from bench.commands.lr_find import find_learning_rate

    found, path = find_learning_rate(request, session.workspace)
    if found.at_edge:
        session.teller.warn("the suggestion lies at an edge of the curve: try another --highest, or do not use it")
    value = {"suggestion": found.suggestion, "at_edge": found.at_edge, "rates": list(found.rates),
             "losses": list(found.losses), "curve": str(path.resolve())}  # fmt: skip
    line = f"the loss falls fastest at a learning rate of {found.suggestion:.2g}"
    return Answer(value, (line, str(path.resolve())))

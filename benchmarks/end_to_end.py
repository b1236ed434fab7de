"""What `bench explain` and an evaluation cost beside the bare calls in them, interleaved in one run.

    python benchmarks/end_to_end.py RUN --data $BENCH_DATA --images 2000 --write docs/measurements.md

The bare call of an explainer gets batches that lie ready, and its maps are dropped. `bench explain` is the whole of it,
in a process that is up: it opens the run and the data set, reads images, calls under the guard, holds the logits
against the run's, saves rows and writes the page, every time into a fresh copy of the run. The bare pass gets batches
that lie ready, too; the evaluation is that of `bench evaluate`, over the same images. Ratios are taken within a round,
which goes forwards and backwards. All images are errors of the run, explained for the predicted and the true class.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from in_turns import timed, told
from tables import cell, finish, machine_words, parser_of, table

from bench.commands.explain import explain
from bench.contracts import Dataset, ExplainerSpec, Silence
from bench.data.transforms import prepare
from bench.evaluation import BATCH, predict
from bench.explaining.batches import batches
from bench.modes import evaluating
from bench.nets.trained import Trained, data_of_run, open_run
from bench.registry.registry import discover
from bench.request import ExplainRequest
from bench.stats.rates import ratio_interval, ratios_of
from bench.store.predictions import choose_ids
from bench.timing.rounds import Work
from bench.workspace import Workspace

BARE_CALL, EXPLAIN = "bare explainer call", "bench explain"
BARE_PASS, EVALUATION = "bare forward pass", "evaluation"
GOALS = ((EXPLAIN, BARE_CALL, 0.85), (EVALUATION, BARE_PASS, 0.97))  # least ratio of images a second


def seconds_of(work: Callable[[], object]) -> float:
    """How long a call took, on the host: everything ends there."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def whole(runs: Path, run: str, options: argparse.Namespace) -> float:
    """`bench explain` on a copy of the run without a cell; the copying is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / run
        shutil.copytree(runs / run, copy, ignore=shutil.ignore_patterns("explain", "*.html", "resume-*", "timing"))
        request = ExplainRequest(
            run,
            explainer=options.explainer,
            layer=options.layer.split(","),
            limit=options.images,
            data=options.data,
            device=options.device,
        )
        return seconds_of(partial(explain, request, Workspace(runs=Path(folder))))


def works_of(options: argparse.Namespace) -> tuple[dict[str, Work], Trained, Dataset, int]:
    """The four arms, each a call that tells its seconds; whose they are, and over how many images."""
    workspace = Workspace(runs=options.runs_dir)
    trained = open_run(options.run, options.device, workspace)
    data = data_of_run(trained.record, options.data, workspace)
    predictions = trained.run.predictions
    ids = torch.from_numpy(choose_ids(predictions, "wrong", options.images))
    targets = torch.stack([torch.from_numpy(each)[ids] for each in (predictions.predicted, predictions.labels)], dim=1)
    images = data.test.images[ids]
    spec = discover("explainer", ExplainerSpec)[options.explainer]
    layers = options.layer.split(",")
    calls = [(prepare(images[rows], trained.statistics), targets[rows]) for rows in batches(spec, len(ids))]
    ready = [prepare(each, trained.statistics) for each in torch.split(images, BATCH)]

    def bare_call() -> None:
        for inputs, wanted in calls:
            spec.explain(trained.model, layers, inputs, wanted)

    def bare_pass() -> None:
        with evaluating(trained.model):
            for inputs in ready:
                trained.model(inputs).sum().item()  # so that a device has ended, too

    def evaluation() -> None:
        predict(trained.model, images, trained.statistics, device=trained.device, progress=Silence())

    bare = {BARE_CALL: bare_call, BARE_PASS: bare_pass, EVALUATION: evaluation}
    works: dict[str, Work] = {name: partial(seconds_of, work) for name, work in bare.items()}
    works[EXPLAIN] = partial(whole, options.runs_dir, trained.record.name, options)
    return works, trained, data, len(ids)


def main() -> None:
    """Measure and print a table."""
    parser = parser_of(__doc__, data=None, runs_dir=Path("runs"), rounds=5, device="auto", write=None)
    parser.add_argument("run", help="a run with errors")
    parser.add_argument("--explainer", default="reference")
    parser.add_argument("--layer", default="layer3,layer4")
    parser.add_argument("--images", type=int, default=2000)
    options = parser.parse_args()
    works, trained, data, count = works_of(options)
    seconds = timed(works, options.rounds, told)
    rows = [[f"{name}, images/s", "", cell([count / each for each in found])] for name, found in seconds.items()]
    for name, bare, goal in GOALS:
        ratios = ratios_of(seconds[name], seconds[bare])
        rows.append([f"{name} over the {bare}, round by round", f"{goal:g}", cell(ratios, ratio_interval)])
    head = (
        f"{machine_words(trained.device, 'torch')}; {count:,} errors of run `{trained.record.name}` "
        f"(`{trained.spec.name}`, {data.name}), fp32; `{options.explainer}` at {options.layer}, predicted and true "
        f"class; {options.rounds} rounds; median (interval)."
    )
    finish(f"{head}\n\n{table(['what', 'at least', 'median (interval)'], rows, {'what'})}", options.write, "end to end")


if __name__ == "__main__":
    main()

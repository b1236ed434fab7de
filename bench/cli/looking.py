"""Commands that look at something: list, show, doctor, schema, rm."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bench.cli.console import Answer
from bench.cli.main import app
from bench.cli.options import ImageSize, Model, Stem
from bench.cli.recipewords import recipe_in_words
from bench.cli.session import Session, command
from bench.cli.working import class_lines, result_lines, result_value
from bench.errors import StoreError, UsageError, did_you_mean
from bench.registry.model_names import with_options
from bench.registry.registry import Registry, discover
from bench.store.runs import check_name, find_run, read_record, run_names

Rows = list[dict[str, object]]


@command(app, "list", epilog="bench list explainers")
def list_(
    session: Session,
    what: Annotated[str, typer.Argument(help="models, explainers, layers, recipes, data or runs.")] = "",
    model: Model = "cifar_resnet18",
    stem: Stem = None,
    image_size: ImageSize = None,
) -> Answer:
    """What there is to choose from."""
    lists: dict[str, Callable[[], Rows]] = {
        "models": lambda: _entries(discover("model", object)),
        "explainers": lambda: _entries(discover("explainer", object)),
        "layers": lambda: _layers(session, with_options(model, size=image_size, stem=stem)),
        "recipes": _recipes,
        "data": _data,
        "runs": lambda: _runs(session.runs),
    }
    if what not in lists:
        words = f"nothing to list named '{what}'{did_you_mean(what, lists)}" if what else "list what?"
        raise UsageError(words, try_=f"bench list and one of: {', '.join(lists)}")
    rows = lists[what]()
    shown = [recipe_in_words(row) for row in rows] if what == "recipes" else rows
    return Answer({what: rows}, (_table(shown) if rows else f"no {what} in {session.runs.resolve()}",))


def _table(rows: Rows) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, head in enumerate(rows[0]):
        table.add_column(head, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    return table


def _entries(registry: Registry[object]) -> Rows:
    named = [(one.name, one) for one in registry.entries.values()]
    named += [(f"{one.name}:NAME", one) for one in registry.libraries.values()]
    return [{"name": name, "about": one.problem or one.about, "from": one.owner} for name, one in named]


def _layers(session: Session, model: str) -> Rows:
    from bench.nets.weights import build_seeded
    from bench.registry.layer_shapes import shapes_of

    spec = session.place.models[model]
    shapes, _ = shapes_of(build_seeded(spec, 10, 0), spec.input_size)
    # Of a square image a grid is square: what is not are heads x tokens and the like.
    maps = {name: shape for name, shape in shapes.items() if len(shape) == 3 and shape[1] == shape[2]}
    return [
        {
            "name": name,
            "map": f"{height}x{width}",
            "channels": channels,
            "default": "yes" if name in spec.layers else "",
        }
        for name, (channels, height, width) in maps.items()
    ]


def _recipes() -> Rows:
    from bench.recipes.recipe import RECIPES

    return [
        {"name": one.name, **one.values(), "source": one.source, "measured": one.measured} for one in RECIPES.values()
    ]


def _data() -> Rows:
    from bench.data.datasets import BUILTIN

    return [{"name": name, "about": about} for name, about in BUILTIN.items()]


def _runs(runs: Path) -> Rows:
    rows: Rows = []
    for name in run_names(runs):
        try:
            record = read_record(runs / name)
        except StoreError as error:
            rows.append({"run": name, "status": "unreadable", "model": "", "data": "", "accuracy": error.message})
            continue
        accuracy = record.metrics.get("accuracy")
        rows.append(
            {
                "run": name,
                "status": record.status,
                "model": record.model,
                "data": record.data.get("name", ""),
                "accuracy": f"{accuracy:.2%}" if isinstance(accuracy, float) else "",
            }
        )
    return rows


# --- show ---------------------------------------------------------------------------------------------------


@command(app, "show", epilog="bench show model cifar_resnet18")
def show(
    session: Session,
    what: Annotated[str, typer.Argument(help="run, model, data or augment.")],
    name: Annotated[str | None, typer.Argument(help="Its name; for augment and data a data set.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="model: every module.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="run: tables to paste.")] = False,
    classes: Annotated[int, typer.Option("--classes", min=2, help="model: number of classes.")] = 10,
    recipe: Annotated[str, typer.Option(help="augment: whose augmentation.")] = "course",
    seed: Annotated[int, typer.Option(help="augment: of the pictures and the changes.")] = 0,
    out: Annotated[Path | None, typer.Option(help="data, augment: PNG to write; else runs/show/.")] = None,
) -> Answer:
    """A run's result, a model's summary, a data set's pictures, or what augmentation does to them."""
    if what == "run":
        return _show_run(session, name or "latest", markdown=markdown)
    if what == "model":
        return _show_model(session, name or "cifar_resnet18", classes, everything=all_)
    if what in ("data", "augment"):
        return _show_pictures(session, what, name, recipe=recipe, seed=seed, out=out)
    raise UsageError(
        f"nothing to show named '{what}'{did_you_mean(what, ['run', 'model', 'data', 'augment'])}",
        try_="bench show run latest",
    )


def _show_run(session: Session, name: str, *, markdown: bool) -> Answer:
    from bench import api

    folder = find_run(session.runs, name)
    if markdown:
        text = api.markdown_of(name, workspace=session.place)
        return Answer({**result_value(folder), "markdown": text}, (text.rstrip(),))
    return Answer(result_value(folder), (*class_lines(folder), *result_lines(folder), str(folder.resolve())))


def _show_model(session: Session, name: str, classes: int, *, everything: bool) -> Answer:
    from bench.nets.summary import format_summary, summarise
    from bench.nets.weights import build_seeded

    spec = session.place.models[name]
    found = summarise(build_seeded(spec, classes, 0), spec.input_size)
    value = {"model": name, "parameters": found.parameters, "macs": found.macs, "source": spec.source}
    return Answer(value, (format_summary(found, all=everything), f"source: {spec.source}"))


def _show_pictures(
    session: Session, what: str, name: str | None, *, recipe: str, seed: int, out: Path | None
) -> Answer:
    import os

    import torch

    from bench.data.contact_sheets import augment_sheet, class_sheet, describe
    from bench.data.datasets import load_dataset
    from bench.recipes.files import recipe_of

    place = session.place
    source = name or os.environ.get("BENCH_DATA") or "cifar10"
    data = load_dataset(source, cache=place.cache, progress=place.progress)
    generator = torch.Generator().manual_seed(seed)
    sheet = class_sheet(data) if what == "data" else augment_sheet(data, recipe_of(recipe).augmentation, generator)
    path = out or session.runs / "show" / f"{what}-{data.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    sizes = (
        f"{data.name}: {len(data.train):,} training and {len(data.test):,} test images of {len(data.classes)} classes"
    )
    mean, std = ([round(value, 4) for value in values] for values in (data.mean, data.std))
    value = {
        "data": data.name,
        "classes": list(data.classes),
        "train": len(data.train),
        "test": len(data.test),
        "mean": mean,
        "std": std,
        "sha256": data.digest,
        "sheet": str(path.resolve()),
    }
    how = (describe(recipe_of(recipe).augmentation),) if what == "augment" else ()
    return Answer(value, (sizes, *how, f"mean {mean}, std {std}", *data.notes, str(path.resolve())))


# --- doctor, schema, rm -------------------------------------------------------------------------------------


@command(app, "doctor")
def doctor(session: Session) -> Answer:
    """Versions, devices, folders, and whether every registered name loads."""
    import torch

    from bench.contracts import ExplainerSpec, ModelSpec
    from bench.machine import choose_device, environment

    facts: dict[str, Any] = environment(choose_device("auto"))
    problems = []
    for registry in (discover("model", ModelSpec), discover("explainer", ExplainerSpec)):
        for name in registry:
            try:
                registry[name]
            except Exception as error:
                problems.append(f"{registry.kind} {name}: {error}")
    other = shutil.which("bench")
    rows: Rows = [{"what": key, "found": value} for key, value in facts["versions"].items()]
    rows += [{"what": key, "found": facts[key]} for key in ("system", "cpu", "cores", "threads", "device")]
    rows += [
        {"what": "CUDA", "found": torch.cuda.is_available()},
        {"what": "bench on PATH", "found": other or "no"},
        {"what": "runs", "found": session.runs.resolve()},
        {"what": "cache", "found": session.place.cache},
        {"what": "free disk", "found": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB"},
    ]
    end = [f"problem: {each}" for each in problems] or ["every registered model and explainer loads"]
    return Answer({**facts, "problems": problems}, (_table(rows), *end))


@command(app, "schema")
def schema(
    session: Session, what: Annotated[str, typer.Argument(help="run, page, judge or timing.")] = "run"
) -> Answer:
    """The JSON schema of a file that bench writes."""
    import json

    from pydantic import TypeAdapter

    from bench.schema.page import Page
    from bench.schema.run import RunRecord
    from bench.schema.timing import Timing
    from bench.schema.verdicts import Judgement

    kinds: dict[str, type] = {"run": RunRecord, "page": Page, "judge": Judgement, "timing": Timing}
    if what not in kinds:
        raise UsageError(f"no file kind '{what}'{did_you_mean(what, kinds)}", try_="bench schema run")
    found = TypeAdapter(kinds[what]).json_schema()
    return Answer({"json_schema": found}, (json.dumps(found, indent=2),))


@command(app, "rm")
def remove(
    session: Session,
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> Answer:
    """Delete a run's folder."""
    folder = find_run(session.runs, check_name(run))
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link, not a folder of bench")
    if not yes and not typer.confirm(f"delete {folder.resolve()}?", err=True):
        raise typer.Exit(1)
    shutil.rmtree(folder)
    latest = session.runs / "latest"
    if latest.is_file() and latest.read_text(encoding="utf-8").strip() == folder.name:
        latest.unlink()
    return Answer({"removed": str(folder.resolve())}, (f"removed {folder.resolve()}",))

"""The verbs that look around: list, show, doctor, schema, rm."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from bench.cli import tables
from bench.cli.console import Answer, table_of
from bench.cli.session import Session
from bench.contracts import ExplainerSpec, ModelSpec
from bench.data.datasets import BUILTIN, load_dataset
from bench.errors import StoreError, UsageError, did_you_mean
from bench.recipes.files import recipe_of
from bench.recipes.recipe import RECIPES
from bench.registry.registry import Registry, discover
from bench.request import LATEST, DoctorRequest, ListRequest, RmRequest, SchemaRequest, ShowRequest
from bench.schema.page import Page
from bench.schema.run import RunRecord
from bench.schema.timing import Timing
from bench.schema.verdicts import Judgement
from bench.store.paths import drawing_path
from bench.store.runs import any_folder, find_run, read_record, remove_run, run_folders

Rows = list[dict[str, object]]


def list_(request: ListRequest, session: Session) -> Answer:
    """What there is to choose from."""
    lists: dict[str, Callable[[], Rows]] = {
        "models": lambda: _entries(discover("model", object)),
        "explainers": lambda: _entries(discover("explainer", object)),
        "layers": lambda: _layers(session, request.whole_name(request.model)),
        "recipes": _recipes,
        "data": lambda: [{"name": name, "about": about} for name, about in BUILTIN.items()],
        "runs": lambda: _runs(session.runs),
    }
    what = request.what
    if what not in lists:
        words = f"nothing to list named '{what}'{did_you_mean(what, lists)}" if what else "list what?"
        raise UsageError(words, try_=f"bench list and one of: {', '.join(lists)}")
    rows = lists[what]()
    table: Any = _table(rows) if rows else f"no {what} in {session.runs.resolve()}"
    if what == "recipes":
        table = table_of("", ("name", "how"), map(tables.recipe_row, RECIPES.values()), **tables.PLAIN)
    return Answer({what: rows}, (table,))


def _table(rows: Rows) -> Table:
    return table_of("", list(rows[0]), [list(row.values()) for row in rows], **tables.PLAIN)


def _entries(registry: Registry[object]) -> Rows:
    named = [(one.name, one) for one in registry.entries.values()]
    named += [(f"{one.name}:NAME", one) for one in registry.libraries.values()]
    return [{"name": name, "about": one.problem or one.about, "from": one.owner} for name, one in named]


def _layers(session: Session, model: str) -> Rows:
    from bench.nets.weights import build_seeded
    from bench.registry.layer_shapes import shapes_of

    spec = session.workspace.models[model]
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
    return [
        {"name": one.name, **one.values(), "source": one.source, "measured": one.measured} for one in RECIPES.values()
    ]


def _runs(runs: Path) -> Rows:
    rows: Rows = []
    for folder in run_folders(runs):
        try:
            record = read_record(folder)
        except StoreError as error:
            rows.append(
                {"run": folder.name, "status": "unreadable", "model": "", "data": "", "accuracy": error.message}
            )
            continue
        accuracy = record.results.accuracy
        rows.append(
            {
                "run": folder.name,
                "status": record.status,
                "model": record.model,
                "data": record.data.name,
                "accuracy": f"{accuracy:.2%}" if accuracy is not None else "",
            }
        )
    return rows


# --- show ---------------------------------------------------------------------------------------------------


def show(request: ShowRequest, session: Session) -> Answer:
    """A run's result, a model's summary, a data set's pictures, or what augmentation does to them."""
    what = request.what
    if what == "run":
        return _show_run(request, session)
    if what == "model":
        return _show_model(request, session)
    if what in ("data", "augment"):
        return _show_pictures(request, session)
    raise UsageError(
        f"nothing to show named '{what}'{did_you_mean(what, ['run', 'model', 'data', 'augment'])}",
        try_="bench show run latest",
    )


def _show_run(request: ShowRequest, session: Session) -> Answer:
    from bench.pages.write import page_of, reports
    from bench.store.folder import RunFolder

    if request.run and request.name and request.run != request.name:
        raise UsageError(f"'{request.name}' and --run {request.run} name two", try_="one of them")
    folder = find_run(session.runs, request.run or request.name or LATEST)
    if request.markdown:
        text = reports("markdown").run_markdown(page_of(RunFolder(folder), session.workspace))
        return Answer({**tables.result_value(folder), "markdown": text}, (text.rstrip(),))
    return Answer(tables.result_value(folder), tables.run_lines(folder))


def _show_model(request: ShowRequest, session: Session) -> Answer:
    from bench.nets.summary import format_summary, summarise
    from bench.nets.weights import build_seeded

    name = request.name or "cifar_resnet18"
    spec = session.workspace.models[name]
    found = summarise(build_seeded(spec, request.classes, 0), spec.input_size)
    value = {"model": name, "parameters": found.parameters, "macs": found.macs, "source": spec.source}
    return Answer(value, (format_summary(found, all=request.all_), f"source: {spec.source}"))


def _show_pictures(request: ShowRequest, session: Session) -> Answer:
    import torch

    from bench.data.contact_sheets import augment_sheet, class_sheet, describe

    workspace, what = session.workspace, request.what
    source = request.name or os.environ.get("BENCH_DATA") or "cifar10"
    data = load_dataset(source, cache=workspace.cache, progress=workspace.progress)
    generator = torch.Generator().manual_seed(request.seed)
    augmentation = recipe_of(request.recipe).augmentation
    sheet = class_sheet(data) if what == "data" else augment_sheet(data, augmentation, generator)
    path = request.out or drawing_path(session.runs, f"{what}-{data.name}")
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
    how = (describe(augmentation),) if what == "augment" else ()
    return Answer(value, (sizes, *how, f"mean {mean}, std {std}", *data.notes, str(path.resolve())))


# --- doctor, schema, rm -------------------------------------------------------------------------------------


def doctor(request: DoctorRequest, session: Session) -> Answer:
    """Versions, devices, folders, and whether every registered name loads."""
    import torch

    from bench.machine import choose_device, environment

    facts: dict[str, Any] = asdict(environment(choose_device("auto")))
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
        {"what": "cache", "found": session.workspace.cache},
        {"what": "free disk", "found": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB"},
    ]
    end = [f"problem: {each}" for each in problems] or ["every registered model and explainer loads"]
    return Answer({**facts, "problems": problems}, (_table(rows), *end))


def schema(request: SchemaRequest, session: Session) -> Answer:
    """The JSON schema of a file that bench writes."""
    import json

    from pydantic import TypeAdapter

    kinds: dict[str, type] = {"run": RunRecord, "page": Page, "judge": Judgement, "timing": Timing}
    if request.what not in kinds:
        raise UsageError(f"no file kind '{request.what}'{did_you_mean(request.what, kinds)}", try_="bench schema run")
    found = TypeAdapter(kinds[request.what]).json_schema()
    return Answer({"json_schema": found}, (json.dumps(found, indent=2),))


def remove(request: RmRequest, session: Session) -> Answer:
    """Delete a run's folder."""
    folder = any_folder(session.runs, request.run)
    if folder.is_symlink():
        raise UsageError(f"{folder} is a link, not a folder of bench")
    if not request.yes and not typer.confirm(f"delete {folder.resolve()}?", err=True):
        raise typer.Exit(1)
    remove_run(folder)
    return Answer({"removed": str(folder.resolve())}, (f"removed {folder.resolve()}",))

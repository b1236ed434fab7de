"""How much of a map is the seed's: trainings that differ in their seed alone, explained on the same images.

python benchmarks/seeds.py --data ARCHIVE --write docs/measurements.md

Five seeds of three models on scikit-learn's digits, and three seeds of one model on a part of the images in --data.
Runs that are there are taken as they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from tables import finish, machine_words, parser_of, table

import bench
from bench.data.datasets import load_dataset
from bench.machine import best_device
from bench.pages.seeds import seed_shares
from bench.schema.page import SeedShare
from bench.store.folder import read_run
from bench.store.paths import run_path
from bench.store.predictions import fixed_order
from bench.store.runs import run_names
from bench.workspace import Workspace

MODELS = ("cifar_resnet18", "timm_resnet18", "torchvision_resnet18")
EXPLAINERS = ("gradcam", "hirescam", "layercam", "saliency", "input_x_gradient")
LAYERS = ("layer3", "layer4")
IMAGES = 60
PART = {"train": 2000, "test": 1000}


def part_of(source: str, folder: Path, workspace: Workspace) -> Path:
    """A folder of PNG files with the first images of a data set, balanced by class."""
    if not folder.is_dir():
        data = load_dataset(source, cache=workspace.cache, progress=workspace.progress)
        for name, count in PART.items():
            split = getattr(data, name)
            for each in fixed_order(split.labels.numpy())[:count].tolist():
                place = folder / name / data.classes[int(split.labels[each])]
                place.mkdir(parents=True, exist_ok=True)
                pixels = split.images[each].permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(place / f"{each:05d}.png")
    return folder


def trained(workspace: Workspace, model: str, data: str, *, seeds: int, **options: object) -> list[str]:
    """Names of runs of a model, seed by seed, each explained."""
    found = []
    for seed in range(seeds):
        name = f"{model}-{Path(data).name}-{seed}"
        found.append(name)
        if name not in run_names(workspace.runs):
            bench.train(model, data=data, seed=seed, run=name, workspace=workspace, **options)  # type: ignore[arg-type]
        bench.explain(
            name, explainer=EXPLAINERS, layer=LAYERS, which="all", target="true", limit=IMAGES, workspace=workspace
        )
        print(name, flush=True)
    return found


def rows_of(workspace: Workspace, names: list[str]) -> list[list[str]]:
    """A row of the table for each layer at which several explainers have maps."""
    runs = [read_run(run_path(workspace.runs, name)) for name in names]
    accuracies = [run.record.results.accuracy or 0.0 for run in runs]
    about = [runs[0].record.model, runs[0].record.data.name, f"{len(runs)}"]
    right = f"{100 * min(accuracies):.1f} to {100 * max(accuracies):.1f} %"
    return [[*about, right, *_cells(one)] for one in seed_shares(runs)]


def _cells(one: SeedShare) -> list[str]:
    share = one.share
    told = f"{100 * share.value:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f})" if share else "-"
    alike = [each.value.value for each in one.alike if each.value]
    null = [each.null.value for each in one.alike if each.null]
    ranks = f"{min(alike):.2f} to {max(alike):.2f}" if alike else "-"
    return [one.layer, f"{len(one.explainers)}", f"{one.images}", told, ranks, f"{max(null):.2f}" if null else "-"]


def main() -> None:
    """Train, explain, print the table."""
    parser = parser_of(__doc__, data="", runs_dir=Path("runs"), write=None)
    args = parser.parse_args()
    workspace = Workspace(runs=args.runs_dir)
    rows = []
    for model in MODELS:
        rows += rows_of(workspace, trained(workspace, model, "digits", seeds=5, recipe="demo"))
    if args.data:
        part = part_of(args.data, args.runs_dir / "part", workspace)
        names = trained(workspace, MODELS[0], str(part), seeds=3, recipe="cpu", epochs=8, val=0)
        rows += rows_of(workspace, names)
    heads = (
        "model", "data", "seeds", "accuracy", "layer", "explainers", "images", "the seed's share",
        "maps of two seeds alike, rank correlation by explainer", "of other images of the class, at most",
    )  # fmt: skip
    words, (device, _) = {"model", "data", "layer"}, best_device()
    text = f"{machine_words(torch.device(device), 'torch', 'grad-cam', 'captum')}.\n\n{table(heads, rows, words)}"
    finish(text, args.write, "seeds")


if __name__ == "__main__":
    main()

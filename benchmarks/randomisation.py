"""Which of the differences between two randomisation tests decides: ours, and Quantus' (its version 0.6).

python benchmarks/randomisation.py RUN [RUN ...] --write docs/reading-a-report.md

Ours lets the values of each tensor change places and measures batch norms anew; Quantus draws weights anew and resets
batch norms. Ours keeps the sign of maps and their own grid; Quantus takes their absolute values, of pixels. Each of the
four is tried with each of the others, its steps written out here, since the package itself brings other torch versions.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
import torch
from tables import finish, parser_of, table
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from bench.contracts import ExplainerSpec, Floats, Silence
from bench.data.transforms import prepare
from bench.explaining.batches import explained
from bench.nets.trained import Trained, data_of_run, open_run
from bench.scoring.occluded_answers import normalised
from bench.scoring.randomization import MEASURED_ON, remeasure, shuffle, stages_of
from bench.stats.intervals import rank_matrix
from bench.store.predictions import choose_ids, fixed_order
from bench.workspace import Workspace

GRIDS = ("reference", "hirescam", "layercam", "gradcam++", "eigencam")
PIXELS = ("saliency", "input_x_gradient", "deeplift", "guided_gradcam")
OURS, QUANTUS = ("shuffled", "measured", "signed", "grid"), ("redrawn", "reset", "absolute", "pixels")
WORDS = ("weights", "batch norms", "sign", "size")
Way = tuple[str, str, str, str]
Maps = dict[str, Tensor]  # of each explainer (N, h, w)


@dataclass(frozen=True)
class Found:
    """What one way to do the test gives.

    Attributes:
        scores: (D, E) of each draw and explainer the mean correlation over stages and images.
        chance: the same of maps of other images, over all draws and explainers.
        lost: share of the maps that have no order, for they are constant or not finite.
    """

    scores: Floats
    chance: float
    lost: float

    @property
    def order(self) -> Floats:
        """(E,) the mean over draws."""
        found: Floats = np.nanmean(self.scores, axis=0)
        return found

    @property
    def repeats(self) -> float:
        """How well one draw orders the explainers as another does: mean rank correlation."""
        pairs = itertools.combinations(self.scores, 2)
        return float(np.nanmean([alike(one, other) for one, other in pairs]))


def alike(one: Floats, other: Floats) -> float:
    """Spearman's correlation of two orders of explainers."""
    return float(scipy.stats.spearmanr(one, other, nan_policy="omit").statistic)


def redrawn(module: nn.Module) -> None:
    """Weights as they are before training, as torch's own layers draw them."""
    for each in module.modules():
        reset = getattr(each, "reset_parameters", None)
        if callable(reset):
            reset()


def copies(trained: Trained, weights: str, norms: str, *, measured_on: Tensor, draw: int) -> Iterator[nn.Module]:
    """A copy whose stages are scrambled from the head down, in one of the two ways each."""
    copy = deepcopy(trained.model).eval()
    parameters, gone = dict(copy.named_parameters()), set[str]()
    owners = {name: copy.get_submodule(name.rpartition(".")[0]) for name in parameters}
    generator = torch.Generator().manual_seed(draw)
    torch.manual_seed(draw)
    for names in stages_of(copy, trained.spec.layers).values():
        with torch.no_grad():
            for name in names:
                if weights == "shuffled":
                    shuffle(parameters[name], generator)
                elif name.endswith(".weight") or (name.endswith(".bias") and not hasattr(owners[name], "weight")):
                    redrawn(owners[name])
        gone.update(names)
        if norms == "measured":
            remeasure(copy, gone, measured_on)
        else:
            for name, owner in owners.items():
                if name in gone and isinstance(owner, _BatchNorm):
                    owner.reset_running_stats()
        yield copy


def maps_of(
    trained: Trained, model: nn.Module, specs: dict[str, ExplainerSpec], images: Tensor, targets: Tensor
) -> Maps:
    """The maps of all explainers, at the last but one layer where they have layers."""
    layer = trained.spec.layers[-2]
    found = {}
    for name, spec in specs.items():
        at = ("input",) if spec.output == "input" else (layer,)
        found[name] = explained(spec, model, at, images, targets)[at[0]][:, 0].double().cpu()
    return found


def as_asked(maps: Tensor, sign: str, size: str, edge: int) -> Floats:
    """Maps with or without their sign, as they are or in pixels; those of pixels summed to 8x8 as the scores do."""
    if size == "pixels" and maps.shape[-1] < edge:
        maps = functional.interpolate(maps[:, None], size=(edge, edge), mode="bilinear", align_corners=False)[:, 0]
    if sign == "absolute":
        maps = maps.abs()
    found: Floats = maps.numpy()
    return found


def tried(trained: Trained, workspace: Workspace, options: argparse.Namespace) -> dict[Way, Found]:
    """Every way on one run."""
    data = data_of_run(trained.record, "", workspace)
    ids = choose_ids(trained.run.predictions, "all", options.images)
    images, edge = normalised(trained, data, ids), trained.record.size
    targets = torch.from_numpy(trained.run.predictions.predicted[ids])[:, None].to(trained.device)
    some = fixed_order(data.train.labels.numpy())[:MEASURED_ON]
    measured_on = prepare(data.train.images[torch.from_numpy(some)].to(trained.device), trained.statistics)
    specs = {name: workspace.explainers[name] for name in (*GRIDS, *PIXELS)}
    before = maps_of(trained, trained.model, specs, images=images, targets=targets)
    found = {}
    for weights, norms in itertools.product(*zip(OURS[:2], QUANTUS[:2], strict=True)):
        drawn: list[list[Maps]] = []
        for draw in range(options.draws):
            scrambled = copies(trained, weights, norms, measured_on=measured_on, draw=draw)
            drawn.append([maps_of(trained, copy, specs, images=images, targets=targets) for copy in scrambled])
            print(f"{trained.record.name}: {weights}, {norms}, draw {draw + 1}", flush=True)
        for sign, size in itertools.product(*zip(OURS[2:], QUANTUS[2:], strict=True)):
            found[weights, norms, sign, size] = judged(before, drawn, sign, size, edge)
    return found


def judged(before: Maps, drawn: list[list[Maps]], sign: str, size: str, edge: int) -> Found:
    """Correlations of one way."""
    own = np.full((len(drawn), len(drawn[0]), len(before)), np.nan)
    chance, lost = own.copy(), own.copy()
    for column, name in enumerate(before):
        wanted = as_asked(before[name], sign, size, edge)
        for draw, stages in enumerate(drawn):
            for stage, maps in enumerate(stages):
                matrix = rank_matrix(as_asked(maps[name], sign, size, edge), wanted)
                same = np.eye(len(matrix), dtype=bool)
                lost[draw, stage, column] = np.isnan(matrix[same]).mean()
                if lost[draw, stage, column] < 1:
                    own[draw, stage, column] = np.nanmean(matrix[same])
                    chance[draw, stage, column] = np.nanmean(matrix[~same])
    return Found(np.nanmean(own, axis=1), float(np.nanmean(chance)), float(lost.mean()))


def text_of(every: dict[str, dict[Way, Found]], options: argparse.Namespace) -> str:
    """The tables, and what each difference does."""
    rows = []
    for run, found in every.items():
        for way, one in found.items():
            both = [alike(one.order, found[each].order) for each in (OURS, QUANTUS)]
            rows.append([
                run, *way, *(f"{each:+.2f}" for each in both),
                f"{one.repeats:+.2f}", f"{np.nanmean(one.order):+.2f}", f"{one.chance:+.2f}", f"{100 * one.lost:.0f} %",
            ])  # fmt: skip
    heads = ("run", *WORDS, "order, with ours", "order, with Quantus'", "order, draw with draw", "mean", "other images",
             "maps lost")  # fmt: skip
    ways = f"{options.images} images, {options.draws} draws, all stages; {', '.join((*GRIDS, *PIXELS))}"
    effects = []
    for place, word in enumerate(WORDS):
        changes = [
            1 - alike(found[way].order, found[swapped(way, place)].order)
            for found in every.values()
            for way in found
            if way[place] == OURS[place]
        ]
        effects.append(f"{word} {np.mean(changes):.2f}")
    told = "How far changing one thing alone moves the order of explainers (1 - rank correlation, mean): "
    told += f"{', '.join(effects)}."
    return f"{ways}.\n\n{table(heads, rows, {'run', *WORDS})}\n\n{told}"


def swapped(way: Way, place: int) -> Way:
    """The same way with one thing done as Quantus does it."""
    return tuple(QUANTUS[at] if at == place else word for at, word in enumerate(way))  # type: ignore[return-value]


def main() -> None:
    """Print the tables, or write them into a document."""
    parser = parser_of(__doc__, runs_dir=Path("runs"), write=None)
    parser.add_argument("run", nargs="+")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    workspace = Workspace(runs=options.runs_dir, progress=Silence())
    every = {}
    for name in options.run:
        trained = open_run(name, "cpu", workspace)
        every[name] = tried(trained, workspace, options)
    finish(text_of(every, options), options.write, "randomisation")


if __name__ == "__main__":
    main()

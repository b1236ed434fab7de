"""A stochastic explainer gives an image one map for a class, whoever asks and whatever stands beside the image."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CLASSES, QUICK, TINY, TINY_FILE, tiny_data
from torch import Tensor, nn

from bench.api import explain_pictures
from bench.clock import Meter, Stopwatch
from bench.contracts import Dataset, ExplainerSpec
from bench.data.transforms import prepare
from bench.explaining import batches
from bench.explaining.batches import drawing, explained, seed_of
from bench.explaining.plan import Wanted
from bench.explaining.runner import explain_run
from bench.judging.verdicts import Case, Inputs, maps_of
from bench.nets.trained import Trained, open_run
from bench.nets.weights import build_seeded
from bench.registry.registry import discover
from bench.request import TrainRequest
from bench.scoring.randomization import scrambled_maps
from bench.store.files import read_npz
from bench.store.folder import RunFolder
from bench.store.paths import cell_path
from bench.store.predictions import read_predictions
from bench.store.rows import read_cell, write_cell
from bench.training.loop import TrainSettings
from bench.training.run import Job, begin, complete
from bench.verifying.trial import Trial
from bench.workspace import Workspace

CPU = torch.device("cpu")
IDS = [5, 40, 17]
SIZES: list[tuple[int, int]] = []


def noise(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """One draw after the other, image by image and class by class: whatever else a call holds would move it."""
    SIZES.append((len(images), targets.shape[1]))
    drawn = [[torch.rand(4, 4) for _ in row] for row in targets]
    maps = torch.stack([torch.stack(row) for row in drawn]).to(images)
    return {layer: maps.clone() for layer in layers}


NOISY = ExplainerSpec(name="noisy", explain=noise, source="tests", backend="torch", stochastic=True)
REGISTERED = discover("explainer", ExplainerSpec)
NOISY_FILE = f"{Path(__file__)}:NOISY"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny_data(train=16, test=16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Dataset) -> Trained:
    runs = tmp_path_factory.mktemp("runs")
    folder, place = runs / "one", Workspace(runs=runs)
    folder.mkdir()
    begin(folder, place, data, TrainRequest(TINY_FILE), CPU)
    complete(Job(folder, build_seeded(TINY, 4, 0), data, TrainSettings(replace(QUICK, epochs=1), val=0.0), CPU), place)
    return open_run(RunFolder(folder), "cpu", place)


def again(trained: Trained) -> Trained:
    """The run as a later call finds it, for a call reads each file once."""
    return open_run(RunFolder(trained.folder), "cpu", Workspace(runs=trained.folder.parent))


def images_of(trained: Trained, data: Dataset, ids: Sequence[int]) -> Tensor:
    return prepare(data.test.images[list(ids)], trained.statistics)


Found = dict[tuple[int, int], Tensor]  # by test id and class


def from_cell(trained: Trained, data: Dataset, target: str, ids: Sequence[int]) -> Found:
    """As `bench explain` and faithfulness make and keep them."""
    wanted = Wanted({"noisy": NOISY}, ("layer4",), target)
    explain_run(again(trained), data, wanted, np.array(ids), workspace=Workspace())
    path = cell_path(trained.folder, "noisy", "layer4")
    cell = read_cell(path)
    path.unlink()
    keys = zip(cell.ids.tolist(), cell.classes.tolist(), strict=True)
    return dict(zip(keys, torch.from_numpy(cell.raw), strict=True))


def from_pictures(trained: Trained, data: Dataset, folder: Path) -> Found:
    """As `bench explain --image` makes them of a file with the same pixels, for every class."""
    files = [folder / f"{each}.png" for each in reversed(IDS)]
    for path in files:
        Image.fromarray(data.test.images[int(path.stem)].permute(1, 2, 0).numpy()).save(path)
    explain_pictures(
        files, str(trained.folder), explainer=NOISY_FILE, layer="layer4", class_=CLASSES, out=folder / "page",
        device="cpu", workspace=Workspace(runs=trained.folder.parent),
    )  # fmt: skip
    key = next(name for name in np.load(folder / "page" / "maps.npz").files if name.endswith("NOISY layer4"))
    found = read_npz(folder / "page" / "maps.npz", (key, "targets"))
    return {
        (int(path.stem), kind): maps
        for path, targets, row in zip(files, found["targets"].tolist(), torch.from_numpy(found[key]), strict=True)
        for kind, maps in zip(targets, row, strict=True)
    }


def by_rows(maps: Tensor, ids: Sequence[int], targets: Tensor) -> Found:
    """Of maps (N, T, h, w) those of each image and class."""
    pairs = [(each, kind) for each, row in zip(ids, targets.tolist(), strict=True) for kind in row]
    return dict(zip(pairs, maps.flatten(0, 1).float(), strict=True))


def everywhere(trained: Trained, data: Dataset, folder: Path) -> Iterator[tuple[str, Found]]:
    """The maps of some of the test images by each way there is to make them, each in its own company."""
    predictions = read_predictions(trained.folder)
    both = torch.from_numpy(np.stack([predictions.predicted, predictions.labels], axis=1))
    turned = IDS[1:] + IDS[:1]
    images, targets = images_of(trained, data, turned), both[turned]
    yield "explain", from_cell(trained, data, "both", [1, 2, *IDS])
    yield "explain, one class", from_cell(trained, data, "true", IDS)
    yield "pictures", from_pictures(trained, data, folder)
    for double in (False, True):
        found = maps_of(Case("noisy", NOISY, ("layer4",)), trained.model, Inputs(images, targets), double=double)
        yield f"judge, double {double}", by_rows(torch.as_tensor(found["layer4"]), turned, targets)
    alone = targets[:, :1]
    for stage, _, scrambled in scrambled_maps(
        trained.model, TINY.layers, images, targets=alone, specs={"noisy": (NOISY, ["layer4"])},
        measured_on=images, generator=torch.Generator().manual_seed(0),
    ):  # fmt: skip
        yield f"sanity, {stage}", by_rows(scrambled["layer4"][:, None], turned, alone)
    tried = Trial(trained.model, ("layer4",), images, targets, 4, NOISY)
    yield "verify", by_rows(tried.maps["layer4"], turned, targets)
    yield "a batch", by_rows(explained(NOISY, trained.model, ["layer4"], images, targets)["layer4"], turned, targets)


def differing(trained: Trained, data: Dataset, folder: Path) -> set[str]:
    """By which ways an image got another map than by the first."""
    (_, first), *others = everywhere(trained, data, folder)
    wrong = set()
    for name, found in others:
        shared = first.keys() & found.keys()
        assert {each for each, _ in shared} == set(IDS), name
        wrong |= {name for key in shared if not torch.equal(first[key], found[key])}
    return wrong


def test_an_image_has_one_map_whoever_asks(trained: Trained, data: Dataset, tmp_path: Path) -> None:
    assert differing(trained, data, tmp_path) == set()


def test_a_seed_by_position_would_show(
    trained: Trained, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "seed_of", Mock(side_effect=itertools.count()))
    wrong = differing(trained, data, tmp_path)
    ways = {name.split(", ")[0] for name in wrong}
    assert {"explain", "pictures", "verify", "a batch", "judge", "sanity"} <= ways


def test_images_classes_explainers_and_revisions_draw_other_numbers(trained: Trained, data: Dataset) -> None:
    images = images_of(trained, data, IDS[:2]).split(1)
    specs = (NOISY, replace(NOISY, name="other"), replace(NOISY, revision=2))
    assert len({seed_of(spec, image) for spec in specs for image in images}) == 6


def test_precision_and_layout_of_an_image_do_not_change_its_seed(trained: Trained, data: Dataset) -> None:
    image = images_of(trained, data, IDS[:1])
    plain = image.contiguous()
    assert plain.stride() != image.stride()
    assert seed_of(NOISY, image) == seed_of(NOISY, plain) == seed_of(NOISY, plain.double())


def test_one_image_and_one_class_a_call_and_the_generators_stay_where_they_were() -> None:
    SIZES.clear()
    before = torch.get_rng_state()
    images, targets = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([[0, 1]] * 3)
    maps = explained(NOISY, nn.Identity(), ["layer4"], images, targets)["layer4"]
    assert (SIZES, maps.shape) == ([(1, 1)] * 6, (3, 2, 4, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_draws_nothing_gets_whole_batches_and_no_seed() -> None:
    spec = replace(NOISY, stochastic=False, max_batch=4)
    assert list(batches.batches(spec, 10)) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    before = torch.get_rng_state()
    with drawing(spec, torch.zeros(4, 3, 2, 2)):
        assert torch.equal(torch.get_rng_state(), before)


def test_the_clock_runs_during_the_bare_calls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    @contextmanager
    def running(watch: Stopwatch) -> Iterator[None]:
        seen.append("clock")
        yield
        seen.append("stopped")

    def watch(*given: object, **named: object) -> dict[str, list[Iterator[list[str]]]]:
        seen.append("guard")
        return {"all": [(seen.append("checked") or [] for _ in range(1))]}  # type: ignore[func-returns-value]

    monkeypatch.setattr(batches, "seed_of", lambda spec, image: seen.append("seed") or 0)
    monkeypatch.setattr(Stopwatch, "running", running)
    monkeypatch.setattr("bench.explaining.guard.watch", watch)
    images, meter = torch.zeros(2, 3, 32, 32), Meter(CPU)
    explained(NOISY, nn.Identity(), ["layer4"], images, torch.zeros(2, 2, dtype=torch.int64), meter=meter)
    assert seen == ["seed", "guard", "clock", "stopped", "checked"] * 4
    assert [count for count, _ in meter.laps] == [1, 1]


def zeros(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {layer: torch.zeros(*targets.shape, 4, 4) for layer in layers}


def test_rows_of_another_seed_are_made_anew_and_those_that_draw_nothing_are_kept(
    trained: Trained, data: Dataset
) -> None:
    """Cells from before images had a seed of their own say nothing of it."""
    specs = {"noisy": NOISY, "still": replace(NOISY, name="still", explain=zeros, stochastic=False)}
    noisy, still = (cell_path(trained.folder, name, "layer4") for name in specs)
    wanted = Wanted(specs, ("layer4",), "true")
    explain_run(again(trained), data, wanted, np.array(IDS), workspace=Workspace())
    for path in (noisy, still):
        write_cell(path, replace(read_cell(path), seeding="", raw=read_cell(path).raw + 9))
    explain_run(again(trained), data, wanted, np.array(IDS), workspace=Workspace())
    assert (read_cell(noisy).seeding, read_cell(still).seeding) == ("image", "") and read_cell(noisy).raw.max() < 1
    assert read_cell(still).raw.min() == 9


def first_logit(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {layer: model(images)[:, :1, None, None].detach().expand(*targets.shape, 2, 2).clone() for layer in layers}


def test_maps_of_batches_are_those_of_all_images_at_once(trained: Trained, data: Dataset) -> None:
    spec, images = (
        replace(NOISY, explain=first_logit, stochastic=False, max_batch=5),
        images_of(trained, data, range(12)),
    )
    found = explained(spec, trained.model, ["layer4"], images, torch.zeros(12, 2, dtype=torch.int64))["layer4"]
    assert found.shape == (12, 2, 2, 2) and torch.allclose(found[:, 1, 0, 0], trained.model(images)[:, 0], atol=1e-5)


@pytest.mark.parametrize("name", [name for name, spec in REGISTERED.items() if spec.stochastic])
def test_a_registered_one_gives_a_class_the_same_map_alone_and_beside_another(
    name: str, trained: Trained, data: Dataset
) -> None:
    spec = REGISTERED[name]
    images, targets = images_of(trained, data, IDS), torch.tensor([[0, 1], [2, 3], [1, 2]])
    whole = explained(spec, trained.model, ["input"], images, targets)["input"]
    alone = explained(spec, trained.model, ["input"], images[1:2], targets[1:2, 1:])["input"]
    assert torch.equal(whole[1:2, 1:], alone) and not torch.equal(whole[0, 0], whole[1, 0])

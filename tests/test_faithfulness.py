"""Scores of a whole run: what is computed, what is kept, what is told, and that nothing is computed twice."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from listening import Listener
from tiny import finished_run, tiny_data, write_images
from torch import Tensor, nn
from typer.testing import Result

import bench.scoring.occluded_answers
from bench.api import faithfulness
from bench.contracts import ExplainerSpec, Silence
from bench.data.datasets import load_dataset
from bench.errors import ContractError, UsageError
from bench.machine import choose_device
from bench.schema.page import Estimate
from bench.schema.scores import SCORES_SCHEMA, ExplainerScores, FaithfulnessScores, Likeness
from bench.scoring.baselines import BASELINES, centre_map
from bench.scoring.occluded_answers import batch_size
from bench.store.files import read_npz, write_npz
from bench.store.folder import RunFolder
from bench.store.paths import PREDICTIONS, answers_path, cell_path, scores_path
from bench.store.predictions import choose_ids, read_predictions
from bench.store.rows import read_cell
from bench.workspace import Workspace

IMAGES = 10


def in_pixels(maps: Tensor) -> Tensor:
    """(..., 8, 8) to (..., 32, 32)."""
    return maps.repeat_interleave(4, 2).repeat_interleave(4, 3)


def covering(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The truth itself, one patch at a time: the drop of the logit without each patch of 8x8."""
    patch = in_pixels(torch.eye(64, device=images.device).reshape(64, 1, 8, 8))
    with torch.no_grad():
        whole = model(images).gather(1, targets)
        parts = torch.stack([model(image * (1 - patch)) for image in images])  # (N, 64, K)
    left = parts.gather(2, targets[:, None].expand(-1, 64, -1))
    maps = (whole[:, None] - left).transpose(1, 2).reshape(*targets.shape, 8, 8)
    return {layer: maps.clone() for layer in layers}


def twice(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {layer: 2 * maps for layer, maps in covering(model, layers, images, targets).items()}


def partly_dead(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Maps of dark images have no positive value."""
    maps = covering(model, layers, images, targets)
    dark = images.mean(dim=(1, 2, 3)) < images.mean()
    return {layer: torch.where(dark[:, None, None, None], -each.abs() - 1, each) for layer, each in maps.items()}


def pixels(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The truth again, spread over the pixels of its patches."""
    return {"input": in_pixels(covering(model, layers, images, targets)["input"]) / 16}


PERFECT = ExplainerSpec(name="perfect", explain=covering, source="tests", backend="torch", cost=lambda layer: 65.0)
DOUBLE = replace(PERFECT, name="double", explain=twice)
SICK = replace(PERFECT, name="sick", explain=partly_dead, max_batch=100)
FINE = replace(PERFECT, name="fine", explain=pixels, output="input")


def named(*names: str) -> list[str]:
    return [f"{__file__}:{name}" for name in names]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a net that was hardly trained, so there are errors, and its images."""
    root = tmp_path_factory.mktemp("origin")
    images = write_images(root / "images", tiny_data(train=16, test=8))
    data = load_dataset(str(images), cache=root / "cache", progress=Silence())
    folder = finished_run(root / "runs" / "tiny-run", data, lr=1e-6)
    assert len(read_predictions(folder).wrong) > IMAGES + 2
    return root


@pytest.fixture(scope="module")
def before(origin: Path) -> tuple[Path, FaithfulnessScores]:
    """The run after the scores of a first call, and what that call found."""
    shutil.copytree(origin / "runs", origin / "scored")
    place = Workspace(runs=origin / "scored", cache=origin / "cache")
    return origin / "scored", scored(place, "PERFECT", sanity=IMAGES)


@pytest.fixture
def fresh(origin: Path, tmp_path: Path) -> Workspace:
    """A copy of the run that nobody has scored."""
    shutil.copytree(origin / "runs", tmp_path / "runs")
    return Workspace(runs=tmp_path / "runs", cache=origin / "cache", progress=Listener())


@pytest.fixture
def place(origin: Path, before: tuple[Path, FaithfulnessScores], tmp_path: Path) -> Workspace:
    """A copy of the run whose scores of PERFECT are there."""
    shutil.copytree(before[0], tmp_path / "runs")
    return Workspace(runs=tmp_path / "runs", cache=origin / "cache", progress=Listener())


def scored(
    place: Workspace, *names: str, limit: int | None = IMAGES, sanity: int = 0, **options: object
) -> FaithfulnessScores:
    return faithfulness(
        "tiny-run", explainer=named(*names), layer=options.pop("layer", "layer4"), limit=limit, sanity=sanity,  # type: ignore[arg-type]
        workspace=place, **options,  # type: ignore[arg-type]
    )  # fmt: skip


def row(found: FaithfulnessScores, name: str) -> ExplainerScores:
    return next(each for each in found.rows if each.explainer.endswith(name))


def is_one(score: Likeness | None) -> bool:
    """Whether a score was computed, and is 1."""
    return score is not None and score.value is not None and score.value.value == pytest.approx(1, abs=1e-3)


def predicted(place: Workspace, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    """Put other predictions into the run."""
    path = place.runs / "tiny-run" / PREDICTIONS
    arrays = read_npz(path, ("ids", "labels", "logits"))
    write_npz(path, arrays | change(arrays))


# --- scores of maps whose scores are known ------------------------------------------------------------------


def test_the_truth_as_a_map_has_correlation_1_and_baselines_are_in_the_table(
    place: Workspace, before: tuple[Path, FaithfulnessScores]
) -> None:
    _, found = before
    assert [each.explainer.rpartition(":")[2] for each in found.rows] == ["PERFECT", *BASELINES]
    perfect = row(found, "PERFECT")
    assert is_one(perfect.logit) and is_one(perfect.margin)
    assert perfect.health is not None and row(found, "random").health is None
    assert (found.images, perfect.logit.images, perfect.margin.images) == (IMAGES, IMAGES, IMAGES)
    assert found.wrong == len(read_predictions(place.runs / "tiny-run").wrong)


def test_maps_of_pixels_are_summed_to_patches(place: Workspace) -> None:
    found = row(scored(place, "FINE"), "FINE")
    assert (found.layer, found.height, found.width, is_one(found.logit)) == ("input", 8, 8, True)


def test_planted_dead_maps_are_counted_and_in_no_score(place: Workspace) -> None:
    found = row(scored(place, "SICK"), "SICK")
    cell = read_cell(cell_path(place.runs / "tiny-run", named("SICK")[0], "layer4"))
    dead = cell.status[cell.classes == read_predictions(place.runs / "tiny-run").predicted[cell.ids]] == 1
    assert 0 < dead.sum() < IMAGES
    assert found.health is not None and found.health.dead == (cell.status == 1).sum()
    assert found.images == found.logit.images == IMAGES - dead.sum()
    assert found.logit.value is None  # too few images are left for a mean


def test_the_errors_are_the_first_of_the_fixed_order(place: Workspace) -> None:
    cell = read_cell(cell_path(place.runs / "tiny-run", named("PERFECT")[0], "layer4"))
    wanted = choose_ids(read_predictions(place.runs / "tiny-run"), "wrong", IMAGES)
    assert sorted(set(cell.ids.tolist())) == sorted(wanted.tolist())


# --- what is kept -------------------------------------------------------------------------------------------


def stored(place: Workspace) -> int:
    """Answers of all fills."""
    paths = [answers_path(place.runs / "tiny-run", (8, 8), fill) for fill in ("", "blur", "another image", "imputed")]
    return sum(len(read_npz(path, ("ids",))["ids"]) for path in paths if path.is_file())


def test_a_second_call_computes_nothing_and_finds_the_same(
    place: Workspace, before: tuple[Path, FaithfulnessScores]
) -> None:
    first, second = before[1], scored(place, "PERFECT", sanity=IMAGES)
    assert first.new == first.answers == stored(place) and second.new == 0
    assert (second.rows, second.pairs, second.sanity, second.cost.seconds) == (
        first.rows, first.pairs, first.sanity, 0,
    )  # fmt: skip


def test_an_explainer_with_the_same_order_of_patches_costs_no_answer(
    place: Workspace, before: tuple[Path, FaithfulnessScores]
) -> None:
    second = scored(place, "PERFECT", "DOUBLE")
    assert second.new == 0 and second.answers == before[1].answers
    double = row(second, "DOUBLE")
    assert double.alike.endswith("PERFECT") and double.alike_images == IMAGES
    assert replace(double, explainer="", alike="", alike_images=0) == replace(row(second, "PERFECT"), explainer="")


def test_more_images_keep_what_fewer_had(place: Workspace, before: tuple[Path, FaithfulnessScores]) -> None:
    many = scored(place, "PERFECT", limit=IMAGES + 2)
    assert 0 < many.new < many.answers / 3  # two images of twelve, and the class template's new order of all


def test_an_interrupted_call_goes_on_where_it_stopped(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = bench.scoring.occluded_answers.answers_to

    def stops(*values: object, **options: object) -> Iterator[np.ndarray]:
        if options["grid"] == (2, 2):  # the check that the model is the right one
            yield from asked(*values, **options)  # type: ignore[arg-type]
            return
        yield next(asked(*values, **options))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.scoring.occluded_answers, "answers_to", stops)
    with pytest.raises(KeyboardInterrupt):
        scored(fresh, "DOUBLE")
    kept = stored(fresh)
    assert kept == batch_size(choose_device("auto"))
    monkeypatch.undo()
    found = scored(fresh, "DOUBLE")
    assert found.new == found.answers - kept == stored(fresh) - kept


def test_the_scores_are_in_a_file_that_any_reader_takes(place: Workspace) -> None:
    found = scored(place, "PERFECT", sanity=IMAGES)
    value = json.loads(scores_path(place.runs / "tiny-run").read_text(encoding="utf-8"))
    assert value["schema"] == SCORES_SCHEMA and value["images"] == IMAGES
    assert value["rows"][0]["logit"]["value"]["value"] == pytest.approx(found.rows[0].logit.value.value)  # type: ignore[union-attr]
    assert value["rows"][0]["logit"]["verdict"] == "the truth itself" and value["rows"][1]["contrast"] is None
    assert [each["stage"] for each in value["sanity"]] == ["head", "layer4", "layer3"]


def test_old_scores_are_read_without_what_was_said_against_a_weaker_null(fresh: Workspace) -> None:
    """Schema 2 held maps against other images of any class; schema 1 called the patches of a flip cells, too."""
    scored(fresh, "PERFECT", sanity=IMAGES)
    folder = fresh.runs / "tiny-run"
    value = json.loads(scores_path(folder).read_text(encoding="utf-8"))
    estimate, row = {"value": 0.5, "low": 0.4, "high": 0.6}, value["rows"][0]
    old = {"value": estimate, "null": None, "images": 40, "verdict": "above"}
    row |= dict.fromkeys(("logit", "margin", "contrast"), old)
    row |= {name: {"over_random": estimate, "over_centre": estimate} for name in ("deletion", "insertion")}
    names = ("explainer", "layer", "height", "width", "images", "logit", "margin", "deletion", "insertion", "contrast",
             "health", "alike", "alike_images")  # fmt: skip
    flips = [{"cells": 8, "turned": estimate, "random": estimate, "gain": estimate}]
    row = {name: row[name] for name in names} | {"flips": flips}
    sanity = [{"explainer": row["explainer"], "layer": "layer4", "stage": "head", "spearman": old}]
    pairs = [{"layer": "layer4", "first": "a", "second": "b", "spearman": old, "overlap": old}]
    kept = {name: each for name, each in value.items() if name not in ("ceilings", "differences", "alike")}
    told = kept | {"schema": 1, "rows": [row], "sanity": sanity, "pairs": pairs}
    scores_path(folder).write_text(json.dumps(told), encoding="utf-8")
    found = RunFolder(folder).scores
    assert found is not None
    line = found.rows[0]
    assert (line.logit.value, line.logit.verdict) == (Estimate(0.5, 0.4, 0.6), "no evidence")
    assert (line.deletion.rival, line.deletion.over, line.flips[0].patches) == ("centre", Estimate(0.5, 0.4, 0.6), 8)
    assert (found.sanity[0].rho, found.sanity[0].verdict) == (Estimate(0.5, 0.4, 0.6), "undecided")


# --- what is told -------------------------------------------------------------------------------------------


def test_the_cost_is_told_before_and_is_no_less_than_what_is_done(fresh: Workspace) -> None:
    planned = scored(fresh, "DOUBLE", sanity=IMAGES, dry_run=True)
    assert not (fresh.runs / "tiny-run" / "judge").exists() and not (fresh.runs / "tiny-run" / "explain").exists()
    told = fresh.progress.said  # type: ignore[attr-defined]
    assert f"{planned.cost.per_image:,.0f} forward passes each" in told[0] and "about" in told[0]
    found = scored(fresh, "DOUBLE", sanity=IMAGES)
    assert planned.cost == found.cost
    # Orders may coincide and share answers, at most as many as flips and small steps of three rows have.
    assert found.new <= planned.cost.forwards <= found.new + 40 * IMAGES


def test_once_maps_are_there_the_cost_is_exact(place: Workspace, before: tuple[Path, FaithfulnessScores]) -> None:
    shutil.rmtree(place.runs / "tiny-run" / "judge")
    planned = scored(place, "PERFECT", dry_run=True)
    template = 42 * IMAGES  # of an order that is known only once single patches are answered
    assert planned.cost.explanations == 0
    assert before[1].new <= planned.cost.forwards <= before[1].new + template


def test_a_run_without_errors_is_a_result(place: Workspace) -> None:
    predicted(place, lambda arrays: {"labels": arrays["logits"].argmax(axis=1)})
    found = scored(place, "DOUBLE")
    assert (found.images, found.rows, place.progress.said) == (0, (), ["no errors to look at"])  # type: ignore[attr-defined]


def test_the_model_must_be_the_one_that_made_the_predictions(place: Workspace) -> None:
    shutil.rmtree(place.runs / "tiny-run" / "judge")
    predicted(place, lambda arrays: {"logits": arrays["logits"] * 3})
    with pytest.raises(ContractError, match="gives other logits"):
        scored(place, "PERFECT")


@pytest.mark.parametrize(
    ("layer", "words"), [("layer9", "layer9"), ("fc", r"'fc' gives \(N, 4\), and a map needs \(N, C, h, w\)")]
)
def test_a_layer_that_is_not_there_or_has_no_grid_is_refused_by_its_name(
    place: Workspace, layer: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        scored(place, "DOUBLE", layer=layer)


# --- sanity -------------------------------------------------------------------------------------------------


def middle(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Looks at the images only, never at the model."""
    still = torch.from_numpy(centre_map(8, 8)).float().to(images.device) * images.mean(dim=(1, 2, 3))[:, None, None]
    maps = still + images.mean(dim=1)[:, ::4, ::4]
    return {layer: maps[:, None].repeat(1, targets.shape[1], 1, 1) for layer in layers}


UNMOVED = replace(PERFECT, name="unmoved", explain=middle)


def test_an_explainer_that_ignores_the_model_is_found_out_at_every_stage(place: Workspace) -> None:
    found = scored(place, "UNMOVED", sanity=IMAGES)
    assert [(each.stage, each.verdict, each.draws) for each in found.sanity] == [
        (stage, "still alike", 5) for stage in ("head", "layer4", "layer3")
    ]
    assert all(each.rho is not None and each.rho.value == pytest.approx(1) for each in found.sanity)
    unmoved = row(found, "UNMOVED")
    # Its maps of both classes are one, so there is no difference to rank.
    assert is_one(unmoved.contrast) and unmoved.margin.images == 0 and unmoved.flips[0].turned is None


def test_maps_of_scrambled_weights_are_kept_by_cell(place: Workspace) -> None:
    own = scored(place, "PERFECT", sanity=IMAGES, dry_run=True)
    more = scored(place, "PERFECT", "UNMOVED", sanity=IMAGES, dry_run=True)
    assert own.cost.sanity == 0 < more.cost.sanity
    scored(place, "UNMOVED", sanity=IMAGES)
    assert scored(place, "PERFECT", "UNMOVED", sanity=IMAGES, dry_run=True).cost.sanity == 0
    assert scored(place, "PERFECT", sanity=IMAGES - 2, dry_run=True).cost.sanity == 0
    assert scored(place, "PERFECT", sanity=IMAGES + 1, limit=IMAGES + 1, dry_run=True).cost.sanity > 0


# --- on the command line ------------------------------------------------------------------------------------


def judged(place: Workspace, *words: str) -> Result:
    """`bench judge tiny-run --faithfulness` on the layer of the other tests."""
    command = ["judge", "tiny-run", "--faithfulness", "--explainer", *named("DOUBLE"), "--layer", "layer4"]
    few = ["--limit", str(IMAGES), "--sanity", "0", *words]
    return call(*command, *few, runs=place.runs, env={"BENCH_CACHE": str(place.cache)})


def test_the_command_shows_every_table_and_says_first_what_it_takes(place: Workspace) -> None:
    done = judged(place)
    assert done.exit_code == 0 and "forward passes each" in done.stderr, done.stderr
    titles = ["Against covering one patch at a time, by mean colour", "Deletion and insertion, by mean colour",
              "ROAD", "by what the patch takes", "Errors that turn to the true class",
              "Agreement", "State of the maps"]  # fmt: skip
    assert [title for title in titles if title not in done.stdout] == []
    assert done.stdout.strip().endswith(str(scores_path(place.runs / "tiny-run").resolve()))
    assert "no evidence" in done.stdout and "random" in done.stdout and "centre" in done.stdout


def test_the_command_gives_all_figures_as_json_and_nothing_after_a_dry_run(place: Workspace) -> None:
    planned = json.loads(judged(place, "--json", "--dry-run").stdout)
    assert planned["rows"] == [] and planned["path"] is None and planned["cost"]["forwards_per_image"] > 0
    value = json.loads(judged(place, "--json").stdout)
    assert value["schema"] == 1 and len(value["rows"]) == 6 and Path(value["path"]).is_file()
    assert value["rows"] == json.loads(Path(value["path"]).read_text(encoding="utf-8"))["rows"]


def test_a_dry_run_without_scores_is_refused(place: Workspace) -> None:
    done = call("judge", "tiny-run", "--dry-run", runs=place.runs)
    assert done.exit_code == 2 and "--dry-run is for --faithfulness" in done.stderr

"""`bench judge --known-answers` on a run: two nets are taught, maps are held to them, and nothing is done twice."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call
from listening import Listener
from tiny import finished_run, tiny_data, write_images
from torch import Tensor, nn

import bench.commands.known_answers as command
from bench.api import known_answers
from bench.contracts import ExplainerSpec, Silence
from bench.data.datasets import load_dataset
from bench.pages.build import run_page
from bench.reports.render import render_files
from bench.schema.known_answers import KnownAnswers
from bench.scoring import sticker_nets
from bench.store.files import read_checkpoint, write_checkpoint
from bench.store.folder import RunFolder, read_run
from bench.store.paths import checkpoint_path, known_answers_path, known_scores_path
from bench.store.rows import read_cell
from bench.workspace import Workspace

IMAGES = 40


def brightest(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """A map that no model has a part in, given out for an explainer."""
    maps = nn.functional.avg_pool2d(images.square().mean(dim=1), 4)[:, None].expand(-1, targets.shape[1], -1, -1)
    return {layer: maps.clone() for layer in layers}


BRIGHTEST = ExplainerSpec(name="brightest", explain=brightest, source="tests", backend="torch")
SPEC = f"{__file__}:BRIGHTEST"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small net that has learned its data, and its images."""
    root = tmp_path_factory.mktemp("known")
    images = write_images(root / "images", tiny_data(train=64, test=24))
    data = load_dataset(str(images), cache=root / "cache", progress=Listener())
    finished_run(root / "runs" / "tiny-run", data, epochs=8)
    return root


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Enough for so small a net."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (command, sticker_nets):
            patched.setattr(module, "STEPS", 200)
        yield


@pytest.fixture(scope="module")
def answered(origin: Path, few_steps: None) -> tuple[Path, KnownAnswers]:
    """The run once it was judged."""
    place = Workspace(runs=origin / "runs", cache=origin / "cache", progress=Listener())
    words = {"explainer": ["reference", SPEC], "layer": "layer3", "limit": IMAGES}
    return origin, known_answers("tiny-run", workspace=place, **words)  # type: ignore[arg-type]


@pytest.fixture
def place(answered: tuple[Path, KnownAnswers], tmp_path: Path) -> Workspace:
    """A copy of the judged run."""
    shutil.copytree(answered[0] / "runs", tmp_path / "runs")
    return Workspace(runs=tmp_path / "runs", cache=answered[0] / "cache", progress=Listener())


def test_the_two_nets_learn_what_they_were_taught(answered: tuple[Path, KnownAnswers]) -> None:
    _, found = answered
    strongest = found.checks[0]
    assert strongest.strength == 1 and strongest.counts
    assert strongest.reliant.value > 0.8 and strongest.control.value < 0.2
    assert found.target == "four"  # classes of a folder stand by name


def test_grad_cam_finds_the_sticker_and_a_map_without_a_model_does_not(answered: tuple[Path, KnownAnswers]) -> None:
    _, found = answered
    by = {(one.explainer, one.strength): one for one in found.stickers}
    assert by["reference", 1.0].finds
    bright = by[SPEC, 1.0]
    assert bright.hits.value == bright.hits_control.value and not bright.claim.above
    assert found.weakest(SPEC, "layer3") is None


def test_scores_nets_and_maps_lie_in_the_run(answered: tuple[Path, KnownAnswers]) -> None:
    root, found = answered
    run = root / "runs" / "tiny-run"
    assert RunFolder(run).known_answers == found
    for net in ("reliant", "control"):
        assert checkpoint_path(known_answers_path(run) / net).is_file()
    cell = read_cell(known_answers_path(run) / "reliant" / "explain" / "reference" / "layer3.npz")
    assert len(cell.ids) and set(cell.classes.tolist()) == {0}


def test_what_is_there_is_not_done_again(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **more: object) -> None:
        raise AssertionError("computed again")

    before = RunFolder(place.runs / "tiny-run").known_answers
    monkeypatch.setattr(command, "fine_tuned", never)
    monkeypatch.setattr("bench.explaining.making.explained", never)
    again = known_answers("tiny-run", explainer=["reference", SPEC], layer="layer3", limit=IMAGES, workspace=place)
    assert before is not None
    assert (again.checks, again.stickers, again.mosaic_scores) == (before.checks, before.stickers, before.mosaic_scores)


def test_a_damaged_net_is_taught_again(place: Workspace) -> None:
    path = checkpoint_path(known_answers_path(place.runs / "tiny-run") / "reliant")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    known_answers("tiny-run", explainer="reference", layer="layer3", limit=IMAGES, workspace=place)
    assert path.read_bytes() == whole  # the same data, the same steps


def test_a_net_that_does_not_learn_the_sticker_gives_no_answer(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(known_answers_path(place.runs / "tiny-run"))
    monkeypatch.setattr(sticker_nets, "RATE", 0.0)
    found = known_answers("tiny-run", explainer="reference", layer="layer3", limit=IMAGES, workspace=place)
    assert not found.stickers and not any(one.counts for one in found.checks)
    assert "no result for the sticker: the network did not learn it" in found.notes


def test_nets_that_see_a_sticker_where_there_is_none_give_no_answer(place: Workspace) -> None:
    path = checkpoint_path(known_answers_path(place.runs / "tiny-run") / "reliant")
    weights, head = read_checkpoint(path)
    weights["fc.bias"][0] += 50  # the sticker's class
    write_checkpoint(path, weights, head)
    found = known_answers("tiny-run", explainer="reference", layer="layer3", limit=IMAGES, workspace=place)
    assert found.unasked is not None and found.unasked.value > 0.9
    assert not found.stickers and any(
        "without one up to 100 % of the images may be taken for four" in each for each in found.notes
    )


def test_a_dry_run_says_how_long_and_computes_nothing(place: Workspace) -> None:
    shutil.rmtree(known_answers_path(place.runs / "tiny-run"))
    found = known_answers("tiny-run", explainer="reference", dry_run=True, workspace=place)
    assert not found.checks and not known_answers_path(place.runs / "tiny-run").exists()
    assert isinstance(place.progress, Listener) and "mosaics" in " ".join(place.progress.said)


def test_the_page_shows_a_sticker_found_where_it_counts(place: Workspace) -> None:
    page = run_page(read_run(place.runs / "tiny-run"), created="")
    assert page.trust is not None
    (sticker,) = page.trust.evidence  # there are too few images for mosaics
    plain, reliant, control = sticker.pictures[:3]
    assert plain.map is None and reliant.map is not None and control.map is not None
    row, column, edge = reliant.box or (0, 0, 0)
    pixels = np.frombuffer(plain.pixels, np.uint8).reshape(plain.edge, plain.edge, 3)
    planted = pixels[row : row + edge, column : column + edge]
    assert {tuple(each) for each in planted.reshape(-1, 3).tolist()} == {(255, 0, 255), (0, 255, 0)}
    assert "the net relies on it" in reliant.caption and "it means nothing" in control.caption


@pytest.mark.parametrize("file", ["samples.npz", "explain/reference/layer3.npz"])
def test_a_page_does_without_pictures_that_are_damaged(place: Workspace, file: str) -> None:
    run = place.runs / "tiny-run"
    (known_answers_path(run) / "reliant" / file).write_bytes(b"no zip")
    page = run_page(read_run(run), created="")
    assert page.trust is not None and page.trust.sentences
    assert all("reference" not in one.caption for each in page.trust.evidence for one in each.pictures)
    assert file != "samples.npz" or any("samples.npz" in badge.text for badge in page.badges)


@pytest.mark.parametrize(
    "change", [{"checks": []}, {"pixels": 0}, {"places": [[5, 0, 0, 0], [10**9, -9, 10**9, 10**9]]}, {"mosaics": 10**9}]
)
def test_scores_from_elsewhere_break_no_page(place: Workspace, change: dict[str, object]) -> None:
    path = known_scores_path(place.runs / "tiny-run")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert render_files(run_page(read_run(place.runs / "tiny-run"), created="2026-11-26T00:00:00+00:00")).files


def test_the_command_shows_tables_and_rm_deletes_nets_and_maps_alone(place: Workspace) -> None:
    words = ("--explainer", "reference", "--layer", "layer3", "--limit", str(IMAGES), "--runs-dir", str(place.runs))
    done = call("judge", "tiny-run", "--known-answers", *words)
    assert done.exit_code == 0, done.output
    assert "found down to" in done.stdout and "knows no model" in done.stdout
    assert str(known_scores_path(place.runs / "tiny-run").resolve()) in done.stdout.replace("\n", "")
    told = json.loads(call("judge", "tiny-run", "--known-answers", *words, "--json").stdout)
    assert told["target"] == "four" and told["stickers"]
    gone = call("rm", "tiny-run", "--known-answers", "--yes", "--runs-dir", str(place.runs))
    assert gone.exit_code == 0, gone.output
    assert not known_answers_path(place.runs / "tiny-run").exists()
    assert checkpoint_path(place.runs / "tiny-run").is_file()
    again = call("rm", "tiny-run", "--known-answers", "--yes", "--runs-dir", str(place.runs))
    assert again.exit_code == 2 and "bench judge tiny-run --known-answers" in again.stderr


def test_a_known_answer_can_be_a_threshold_and_one_that_will_not_be_there_is_refused(place: Workspace) -> None:
    words = ("judge", "tiny-run", "--known-answers", "--explainer", "reference", "--layer", "layer3")
    more = ("--limit", str(IMAGES), "--runs-dir", str(place.runs))
    broken = call(*words, "--fail-if", "sticker[reference,layer3] > 0", *more)
    assert broken.exit_code == 3 and "broken: sticker[reference,layer3] > 0; sticker[tiny-run," in broken.stdout
    refused = call(*words, "--fail-if", "sticker[reference,layer4] > 0", "--dry-run", *more)
    assert refused.exit_code == 2 and "no layer 'layer4' of tiny-run" in refused.stderr
    assert "one of: layer3" in refused.stderr


def test_two_kinds_of_judging_in_one_call_are_refused(place: Workspace) -> None:
    both = call("judge", "tiny-run", "--known-answers", "--faithfulness", "--runs-dir", str(place.runs))
    assert both.exit_code == 2
    assert "--faithfulness and --known-answers are two commands" in both.stderr


def test_both_nets_see_the_same_images_with_the_same_stickers() -> None:
    data = tiny_data().train
    for one, other in zip(sticker_nets.stickered_batches(data), sticker_nets.stickered_batches(data), strict=True):
        assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))
        _, labels, bearing = one
        assert int(bearing.sum()) == len(labels) // 2
        break


def test_a_net_with_small_weights_learns_as_one_with_large_weights_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sticker_nets, "STEPS", 3)
    data = tiny_data()
    taught = []
    for scale in (1.0, 2.0**-6):
        torch.manual_seed(0)
        # Norms without weights of their own take the scale out again: both nets compute the same.
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), nn.InstanceNorm2d(8, eps=0), nn.Flatten(), nn.LazyLinear(10)
        )
        net(torch.zeros(1, 3, *data.train.images.shape[-2:]))
        before = nn.init.normal_(next(net.parameters()), std=scale).detach().clone()
        net.eval().requires_grad_(False)
        statistics = (data.mean, data.std)
        with Silence().track("teach", 3) as task:
            model = sticker_nets.fine_tuned(net, data.train, statistics, target=0, precision="fp32", task=task)
        taught.append(next(model.parameters()))
        assert not torch.equal(taught[-1], before)
    large, small = taught
    assert torch.allclose(large, small * 2**6, rtol=1e-3, atol=1e-3)

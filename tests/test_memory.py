"""Where memory runs out: fewer images at once, the same results, and words that name what fits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import call
from listening import Listener
from pretended import pretended
from tiny import QUICK, RESIDUAL, TINY, TINY_FILE, TinyNet, finished_run, tiny_data, write_images
from torch import Tensor, nn

from bench import api
from bench.contracts import Dataset, ExplainerSpec, Silence
from bench.errors import RoomError, UsageError
from bench.evaluation import predict
from bench.explaining.batches import explained
from bench.explaining.plan import Wanted
from bench.explaining.runner import explain_run
from bench.judging.verdicts import Case, Inputs, verdicts
from bench.memory import Room, ran_out
from bench.nets.trained import Trained, open_run
from bench.nets.tta import average_logits
from bench.nets.weights import build_seeded
from bench.registry.registry import discover
from bench.request import TimeRequest
from bench.scoring.occluded_answers import answers_to
from bench.store.folder import RunFolder
from bench.store.paths import cell_path
from bench.store.rows import read_cell
from bench.store.runs import run_folders
from bench.timing.arms import ArmSpec, Subject
from bench.timing.runner import make_timing_run
from bench.training.compiling import compiled
from bench.training.largest_batch import batch_that_fits, batch_too_large
from bench.workspace import Workspace

CPU = torch.device("cpu")
FULL = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 15.89 GiB"
EXPLAINERS = discover("explainer", ExplainerSpec)
STATISTICS = ((0.25, 0.25, 0.25), (0.2, 0.2, 0.2))


@contextmanager
def room_for(images: int) -> Iterator[None]:
    """A tiny net does not fit into memory with more images at once."""
    forward = nn.Module.__call__

    def limited(self: nn.Module, *given: Any, **named: Any) -> object:
        if type(self).__name__ in ("TinyNet", "TinyResNet") and len([*given, *named.values()][0]) > images:
            raise torch.OutOfMemoryError(FULL)  # by name, for a file is read anew
        return forward(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "__call__", limited)
        yield


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny_data(train=16, test=16)


@pytest.fixture
def trained(tmp_path: Path, data: Dataset) -> Trained:
    return open_run(RunFolder(finished_run(tmp_path / "run", data)), "cpu", Workspace())


# --- what it is, and the one loop that halves ------------------------------------------------------------------


def wrapped(error: Exception) -> Exception:
    try:
        try:
            raise error
        except Exception as reason:
            raise ValueError("a library's own words") from reason
    except ValueError as found:
        return found


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (torch.OutOfMemoryError(FULL), True),
        (wrapped(torch.OutOfMemoryError(FULL)), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17.32 GB, max allowed: 18.13 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory of what was said"), False),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_known_by_its_kind_or_its_words(error: Exception, is_so: bool) -> None:
    assert ran_out(error) is is_so


def fitting(most: int) -> tuple[Callable[[slice], list[int]], list[int]]:
    """Work that takes at most so many images, and how many it was asked to take."""
    asked: list[int] = []

    def work(rows: slice) -> list[int]:
        asked.append(rows.stop - rows.start)
        if asked[-1] > most:
            raise torch.OutOfMemoryError(FULL)
        return list(range(rows.start, rows.stop))

    return work, asked


def test_every_image_comes_once_and_in_order_and_the_smaller_batch_is_said_once_and_kept_to() -> None:
    told = Listener()
    room, (work, asked) = Room(told), fitting(3)
    assert [row for part in room.batches("maps", 20, 16, work) for row in part] == list(range(20))
    assert asked == [16, 8, 4, 2, *[2] * 9]
    assert list(room.batches("maps", 3, 16, work)) == [[0, 1], [2]]
    assert told.warned == ["maps: memory ran out with 16 images at once; 2 at once from here on"]
    assert list(room.batches("others", 3, 16, work)) == [[0, 1, 2]]


def test_where_not_one_image_fits_that_is_the_error_with_the_work_it_is_of() -> None:
    told = Listener()
    with pytest.raises(RoomError, match=r"^maps: memory ran out with one image$"):
        list(Room(told).batches("maps", 20, 16, fitting(0)[0]))
    assert not told.warned


def test_other_errors_pass_at_once() -> None:
    def wrong(rows: slice) -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        next(Room(Silence()).batches("maps", 20, 16, wrong))


# --- evaluating ------------------------------------------------------------------------------------------------


def test_evaluation_gives_the_same_logits_with_less_memory_and_its_averages_keep_to_the_smaller_batch(
    data: Dataset,
) -> None:
    net, images = build_seeded(TINY, 4, 0), data.test.images

    def both(room: Room) -> list[Tensor]:
        plain, rate = predict(net, images, STATISTICS, device=CPU, progress=room.progress, room=room)
        assert rate is not None
        more = average_logits(net, images, plain, STATISTICS, mirror=True, precision="fp32", device=CPU, room=room)
        return [plain, *more.values()]

    whole, told = both(Room(Silence())), Listener()
    with room_for(10):
        less = both(Room(told))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(whole, less, strict=True))
    assert told.warned == ["evaluate: memory ran out with 64 images at once; 8 at once from here on"]


# --- explaining ------------------------------------------------------------------------------------------------


def explain(trained: Trained, data: Dataset, specs: dict[str, ExplainerSpec], *layers: str) -> Listener:
    told = Listener()
    wanted = Wanted(specs, layers, "true")
    explain_run(trained, data, wanted, np.arange(20), workspace=replace(Workspace(), progress=told))
    return told


@pytest.mark.parametrize("name", ["gradcam", "saliency", "reference"])
def test_maps_do_not_depend_on_the_batch_that_fits(name: str, trained: Trained, data: Dataset) -> None:
    layer = "input" if name == "saliency" else "layer4"
    explain(trained, data, {name: EXPLAINERS[name]}, "layer4")
    path = cell_path(trained.folder, name, layer)
    whole = read_cell(path)
    path.unlink()
    again = open_run(RunFolder(trained.folder), "cpu", Workspace())
    with room_for(6):
        told = explain(again, data, {name: EXPLAINERS[name]}, "layer4")
    less = read_cell(path)
    assert np.array_equal(whole.ids, less.ids) and np.allclose(whole.raw, less.raw, atol=1e-5 * abs(whole.raw).max())
    assert len(told.warned) == 1 and told.warned[0].startswith(f"{name} at {layer}: memory ran out with 20 images")


def greedy(at: str, most: int) -> ExplainerSpec:
    """An explainer that needs more memory than there is: at one layer, or with more layers than so many."""

    def explain(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        if at in layers or len(layers) > most:
            raise torch.OutOfMemoryError(FULL)
        return {layer: targets[:, :, None, None].float().expand(*targets.shape, 2, 2).clone() for layer in layers}

    return ExplainerSpec("greedy", explain, "tests", "torch", max_batch=8)


@pytest.mark.parametrize("all_", [True, False])
def test_an_explainer_that_ran_out_is_an_error_by_name_and_all_others_are_done(
    trained: Trained, data: Dataset, all_: bool
) -> None:
    specs, told = {"greedy": greedy("layer4", 2), "gradcam": EXPLAINERS["gradcam"]}, Listener()
    costs = {spec.name: np.inf for spec in specs.values()} if all_ else {}
    wanted = Wanted(specs, ("layer3", "layer4"), "true", costs)
    with pytest.raises(RoomError, match=r"^greedy at layer4: memory ran out with one image$"):
        explain_run(trained, data, wanted, np.arange(20), workspace=replace(Workspace(), progress=told))
    assert not any("left out" in words for words in told.warned)
    for name, layer in (("greedy", "layer3"), ("gradcam", "layer3"), ("gradcam", "layer4")):
        assert len(read_cell(cell_path(trained.folder, name, layer)).ids) == 20


def test_layers_that_do_not_fit_together_are_explained_one_by_one(trained: Trained, data: Dataset) -> None:
    assert not explain(trained, data, {"greedy": greedy("", 1)}, "layer3", "layer4").warned
    for layer in ("layer3", "layer4"):
        assert len(read_cell(cell_path(trained.folder, "greedy", layer)).ids) == 20


def test_the_command_ends_with_the_error_and_a_page_of_what_the_others_gave(tmp_path: Path, pictures: Path) -> None:
    runs, own = tmp_path / "runs", tmp_path / "greedy.py"
    folder = api.train(data=str(pictures), batch_size=16, workspace=Workspace(runs, tmp_path / "cache"), **OPTIONS)
    own.write_text(
        "import torch\nfrom bench.contracts import ExplainerSpec\n"
        "def explain(model, layers, images, targets):\n    raise torch.OutOfMemoryError('CUDA out of memory.')\n"
        "GREEDY = ExplainerSpec('greedy', explain, 'tests', 'torch')\n"
    )
    words = ("--run", "mine", "--explainer", f"{own}:GREEDY,gradcam", "--layer", "layer4", "--limit", "3")
    result = call("explain", *words, runs=runs)
    assert result.exit_code == 1 and "GREEDY at layer4: memory ran out with one image" in result.stderr
    assert "try: --device cpu" in result.stderr and "Traceback" not in result.stderr
    assert "gradcam" in (folder / "page.json").read_text()


def test_a_batch_that_fits_is_kept_to_where_an_explainer_is_called_elsewhere(data: Dataset) -> None:
    net, images = build_seeded(TINY, 4, 0).eval(), torch.rand(12, 3, 32, 32)
    targets, told = torch.zeros(12, 1, dtype=torch.int64), Listener()
    whole = explained(EXPLAINERS["reference"], net, ["layer4"], images, targets)["layer4"]
    with room_for(5):
        less = explained(EXPLAINERS["reference"], net, ["layer4"], images, targets, room=Room(told))["layer4"]
        with pytest.raises(torch.OutOfMemoryError):
            explained(EXPLAINERS["reference"], net, ["layer4"], images, targets)
    assert torch.allclose(whole, less, atol=1e-6) and len(told.warned) == 1


# --- judging, covering -----------------------------------------------------------------------------------------


def judged(told: Listener) -> list[tuple[str, str]]:
    net = build_seeded(RESIDUAL, 4, 0).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    inputs = Inputs(torch.rand(4, 3, 32, 32, generator=generator), torch.tensor([[0, 1]] * 4))
    cases = [Case(name, EXPLAINERS[name], ("layer4",)) for name in ("gradcam", "captum")]
    found = verdicts(cases, EXPLAINERS["reference"], net, inputs, progress=told)
    return [(one.explainer, one.verdict) for one in found]


def test_verdicts_do_not_depend_on_the_batch_that_fits() -> None:
    told, whole = Listener(), judged(Listener())
    with room_for(2):
        assert judged(told) == whole == [("gradcam", "same"), ("captum", "same")]
    assert len(told.warned) == len(set(told.warned)) == 3


def test_a_lack_of_memory_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def diagnose(*given: object, **named: object) -> None:
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr("bench.judging.verdicts.diagnose", diagnose)
    monkeypatch.setattr("bench.judging.verdicts.EXACT", -1.0)
    monkeypatch.setattr("bench.judging.verdicts.CAST", -1.0)
    with pytest.raises(RoomError, match=r"why gradcam at layer. is not Grad-CAM: memory ran out with 4") as error:
        judged(Listener())
    assert error.value.try_ == "--limit 2"


def test_answers_to_covered_images_do_not_depend_on_the_batch_that_fits() -> None:
    net, images, told = build_seeded(TINY, 4, 0).eval(), torch.rand(4, 3, 32, 32), Listener()
    rows, sets = np.arange(4).repeat(16), np.arange(64).astype(np.uint64)

    def answers(room: Room) -> np.ndarray:
        return np.concatenate(list(answers_to(net, images, rows=rows, sets=sets, grid=(4, 4), room=room)))

    whole = answers(Room(Silence()))
    with room_for(20):
        assert np.allclose(answers(Room(told)), whole, atol=1e-5)
    assert told.warned == ["cover: memory ran out with 64 images at once; 16 at once from here on"]


# --- timing ----------------------------------------------------------------------------------------------------


def timed(explainers: dict[str, ExplainerSpec], told: Listener) -> int:
    """The batch size at which a forward pass and explainers are timed."""
    net = build_seeded(TINY, 4, 0).eval().requires_grad_(False)
    specs = [ArmSpec("forward", "a"), *(ArmSpec("explain", "a", name, "layer4", name) for name in explainers)]
    run = make_timing_run(
        specs, {"a": Subject("a", "tiny", net, 32)}, explainers, device=CPU, request=TimeRequest(batch_size=16),
        place=replace(Workspace(), progress=told), optional=set(explainers),
    )  # fmt: skip
    assert {arm.items for arm in run.arms.values()} == {run.request.batch_size}
    return run.request.batch_size


def test_all_is_timed_with_the_batch_that_fits() -> None:
    told = Listener()
    with room_for(5):
        assert timed({"gradcam": replace(EXPLAINERS["gradcam"], max_batch=16)}, told) == 4
    assert told.warned == ["time: memory ran out with 16 images at once; 4 at once from here on"]


def test_a_timing_of_all_does_not_leave_out_what_ran_out() -> None:
    with pytest.raises(RoomError, match=r"^explain\[a,greedy,layer4\]: memory ran out with one image$"):
        timed({"greedy": greedy("layer4", 1)}, Listener())


# --- training --------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_images(tmp_path / "pictures", tiny_data(train=16, test=4))


OPTIONS = {"model": TINY_FILE, "epochs": 1, "lr": 0.05, "val": 0.25, "device": "cpu", "run": "mine"}


def test_training_names_the_batch_that_fits_and_a_command_that_works(tmp_path: Path, pictures: Path) -> None:
    place = Workspace(tmp_path / "runs", tmp_path / "cache")
    with room_for(17):
        with pytest.raises(RoomError) as error:
            api.train(data=str(pictures), batch_size=48, workspace=place, **OPTIONS)
        assert error.value.message == "training: memory ran out with a batch of 48 images; 12 at once fit"
        verb, *words = error.value.try_.split()[1:]
        assert ("--batch-size", "12") in set(pairwise(words)) and not list(run_folders(place.runs))
        at = words.index("--runs-dir")
        result = call(verb, *words[:at], *words[at + 2 :], runs=place.runs)
    assert result.exit_code == 0, result.stderr
    assert [each.name for each in run_folders(place.runs)] == ["mine"]


def test_where_no_batch_fits_the_error_says_so() -> None:
    recipe = replace(QUICK, batch_size=16)
    with room_for(0):
        fits = batch_that_fits(build_seeded(TINY, 4, 0), recipe, CPU, images=8, edge=32)
    error = batch_too_large("training", recipe, fits, "bench train")
    assert error.message == "training: memory ran out with one image in each step, besides all training images"


def test_lr_find_names_the_batch_that_fits(tmp_path: Path, pictures: Path) -> None:
    words = ("--model", TINY_FILE, "--data", str(pictures), "--steps", "10", "--batch-size", "32", "--device", "cpu")
    with room_for(20):
        result = call("lr-find", *words, runs=tmp_path / "runs")
    assert result.exit_code == 1 and "a batch of 32 images; 16 at once fit" in result.stderr
    assert "--batch-size 16" in result.stderr


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(FULL), wrapped(torch.OutOfMemoryError(FULL))])
def test_compiling_does_not_hide_it(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile(model: nn.Module, **options: object) -> Callable[[Tensor], Tensor]:
        raise RuntimeError("backend='inductor' raised:") from error

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(RuntimeError, match="inductor") as found:
        compiled(TinyNet(4), [(4, 3, 32, 32)], CPU, precision="fp32")
    assert not isinstance(found.value, UsageError) and ran_out(found.value)


# --- on a device with little memory ----------------------------------------------------------------------------


def test_the_batch_that_is_named_fits_on_the_device_and_one_twice_as_large_does_not() -> None:
    net, recipe = build_seeded(RESIDUAL, 4, 0), replace(QUICK, batch_size=64)
    with pretended("cuda", memory=2 * 2**20) as machine:
        fits = batch_that_fits(net, recipe, machine.device, images=64, edge=32)
        assert 0 < fits < 64
        twice = replace(recipe, batch_size=2 * fits)
        assert batch_that_fits(net, twice, machine.device, images=64, edge=32) == fits


def test_a_device_evaluates_in_what_memory_it_has(data: Dataset) -> None:
    told, net = Listener(), build_seeded(TINY, 4, 0)
    whole, _ = predict(net, data.test.images, STATISTICS, device=CPU, progress=Silence())
    with pretended("cuda", memory=2**20) as machine:
        net.to(machine.device)
        less, _ = predict(net, data.test.images, STATISTICS, device=machine.device, progress=told)
    assert torch.allclose(whole, less, atol=1e-5) and len(told.warned) == 1

"""From a run to its cells: which rows are made, that none is made twice, and that the model is the right one."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from listening import Listener
from tiny import TINY_FILE, finished_run, tiny_data
from torch import Tensor, nn

from bench.contracts import Dataset, ExplainerSpec
from bench.errors import ContractError, StoreError, UsageError
from bench.explaining.batches import overheard
from bench.explaining.plan import Wanted, check_layers, plan
from bench.explaining.runner import explain_run
from bench.nets.trained import Trained, open_run
from bench.registry.registry import discover
from bench.request import TrainRequest
from bench.schema.run import Cell
from bench.schema.timing import Timing
from bench.store.files import read_checkpoint, read_npz, write_checkpoint, write_npz
from bench.store.folder import RunFolder
from bench.store.paths import CHECKPOINT, PREDICTIONS, cell_path
from bench.store.predictions import read_predictions
from bench.store.rows import read_cell
from bench.store.runs import read_record
from bench.store.timings import read_timings
from bench.training.run import begin, recorded
from bench.workspace import Workspace

CPU = torch.device("cpu")
CALLS: list[tuple[tuple[str, ...], int]] = []


def gradient(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """A stand-in whose maps are easy to predict: the target's number everywhere but in one cell."""
    CALLS.append((tuple(layers), len(images)))
    maps = targets[:, :, None, None].to(images.dtype).expand(*targets.shape, 2, 2).clone()
    maps[..., 0, 0] += 1
    return {layer: maps.clone() for layer in layers}


PLAIN = ExplainerSpec(name="plain", explain=gradient, source="tests", backend="torch", max_batch=5)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return tiny_data(train=16, test=8)


@pytest.fixture
def run(tmp_path: Path, data: Dataset) -> Path:
    CALLS.clear()
    return finished_run(tmp_path / "tiny-run", data)


def opened(run: Path) -> Trained:
    return open_run(RunFolder(run), "cpu", Workspace())


def test_an_opened_run_keeps_memory_from_batch_to_batch(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[torch.device] = []
    monkeypatch.setattr("bench.nets.weights.reuse_memory", kept.append)
    opened(run)
    assert kept == [CPU]


def explain(
    run: Path, data: Dataset, ids: list[int], layers: tuple[str, ...] = ("layer3", "layer4"), target: str = "both",
    spec: ExplainerSpec = PLAIN,
) -> None:  # fmt: skip
    explain_run(opened(run), data, Wanted({spec.name: spec}, layers, target), np.array(ids), workspace=Workspace())


def keys(run: Path, layer: str) -> set[tuple[int, int]]:
    cell = read_cell(cell_path(run, "plain", layer))
    return set(zip(cell.ids.tolist(), cell.classes.tolist(), strict=True))


def test_every_row_wanted_is_there_once(run: Path, data: Dataset) -> None:
    explain(run, data, [3, 1, 20])
    predictions = read_predictions(run)
    wanted = {(each, int(of[each])) for each in (3, 1, 20) for of in (predictions.predicted, predictions.labels)}
    assert keys(run, "layer3") == keys(run, "layer4") == wanted
    cell = read_cell(cell_path(run, "plain", "layer3"))
    assert np.array_equal(cell.raw[:, 1, 1], cell.classes)


def ids_at(run: Path, layer: str = "layer3") -> set[int]:
    return {each for each, _ in keys(run, layer)}


def test_one_call_serves_several_layers_and_both_classes(run: Path, data: Dataset) -> None:
    explain(run, data, list(range(12)))
    both = ("layer3", "layer4")
    assert [(both, 1), (both, 5), (both, 5), (both, 2)] == CALLS  # the first one warms up


def test_a_slow_writer_is_asked_more_rarely(run: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def slow(folder: RunFolder, *parts: Cell) -> None:
        time.sleep(0.2)  # so 4 seconds pass before the next save, in which all is done
        saved.append(sum(len(part.ids) for part in parts))
        add_rows(folder, *parts)

    add_rows = RunFolder.add_rows
    monkeypatch.setattr(RunFolder, "add_rows", slow)
    monkeypatch.setattr("bench.clock.SAVE_EVERY", 0.0)
    explain(run, data, list(range(30)), layers=("layer3",), target="true")
    assert saved == [5, 25]


def test_rows_that_are_there_are_not_computed_again(run: Path, data: Dataset) -> None:
    explain(run, data, [1, 2], layers=("layer3",))
    CALLS.clear()
    explain(run, data, [1, 2, 3])
    assert sorted(CALLS) == [(("layer3",), 1), (("layer3",), 1), (("layer4",), 1), (("layer4",), 3)]
    assert ids_at(run) == {1, 2, 3}


def test_a_new_revision_makes_old_rows_anew(run: Path, data: Dataset) -> None:
    explain(run, data, [1, 2], layers=("layer3",))
    CALLS.clear()
    explain(run, data, [1], layers=("layer3",), spec=replace(PLAIN, revision=2))
    assert CALLS == [(("layer3",), 1)] * 2
    assert read_cell(cell_path(run, "plain", "layer3")).revision == 2


def test_a_damaged_cell_is_made_anew(run: Path, data: Dataset) -> None:
    explain(run, data, [1], layers=("layer3",))
    path = cell_path(run, "plain", "layer3")
    path.write_bytes(path.read_bytes()[:100])
    explain(run, data, [1], layers=("layer3",))
    assert ids_at(run) == {1}


def test_the_samples_are_the_pictures_of_the_data_set(run: Path, data: Dataset) -> None:
    explain(run, data, [9, 4])
    explain(run, data, [30])
    samples = RunFolder(run).samples
    assert samples is not None and samples.ids.tolist() == [4, 9, 30]
    assert np.array_equal(samples.pictures, data.test.images[[4, 9, 30]].permute(0, 2, 3, 1).numpy())
    assert [*samples.names] == [data.test.names[each] for each in (4, 9, 30)]


def test_what_was_done_before_a_failure_is_kept(run: Path, data: Dataset) -> None:
    def failing(*call: Any) -> dict[str, Tensor]:
        if len(CALLS) == 3:
            raise RuntimeError("planted")
        return gradient(*call)

    with pytest.raises(RuntimeError, match="planted"):
        explain(run, data, list(range(12)), spec=replace(PLAIN, explain=failing))
    assert ids_at(run) == set(range(10))


def timing_of(run: Path) -> Timing:
    (timing,) = [one for one in read_timings(run) if one.what == "explain"]
    return timing


def test_timings_hold_the_raw_samples_in_run_order(run: Path, data: Dataset) -> None:
    explain(run, data, list(range(12)))
    timing = timing_of(run)
    assert [(arm.explainer, arm.layers, arm.targets, arm.n) for arm in timing.arms] == [
        ("plain", ("layer3", "layer4"), 2, 3)
    ]
    assert [(one.round, one.images, len(one.seconds)) for one in timing.samples] == [(0, 5, 1), (1, 5, 1), (1, 2, 1)]
    assert timing.arms[0].rate == pytest.approx(7 / sum(one.seconds[0] for one in timing.samples[1:]))
    assert {one.arm for one in timing.samples} == {timing.arms[0].name}
    assert timing.models == {"tiny-run": {"model": TINY_FILE, "checkpoint": opened(run).checkpoint}}


def test_what_two_calls_of_one_moment_noted_stands_in_one_timing(run: Path, data: Dataset) -> None:
    workspace = Workspace()
    for layer in ("layer3", "layer4"):
        wanted = Wanted({"plain": PLAIN}, (layer,))
        explain_run(opened(run), data, wanted, np.array([1]), workspace=workspace)
    timing = timing_of(run)
    assert [arm.layers for arm in timing.arms] == [("layer3",), ("layer4",)]
    assert {one.arm for one in timing.samples} == {arm.name for arm in timing.arms}


def test_a_top_up_does_not_replace_the_rate_of_most_rows(run: Path, data: Dataset) -> None:
    wanted = Wanted({"plain": PLAIN}, ("layer3",))
    many, few = (Workspace(started=datetime(2026, 11, day, tzinfo=UTC)) for day in (1, 2))
    for workspace, ids in ((many, range(12)), (few, range(13))):
        explain_run(opened(run), data, wanted, np.array(ids), workspace=workspace)
    assert read_cell(cell_path(run, "plain", "layer3")).timing == many.timing != few.timing


def test_a_layer_that_is_not_there_is_named_with_the_nearest(run: Path) -> None:
    with pytest.raises(UsageError, match=r"'layr3' is not a layer.*did you mean 'layer3'"):
        check_layers(opened(run), ("layr3",))


def test_another_model_than_the_one_that_predicted_is_refused(run: Path, data: Dataset) -> None:
    # G9: maps of a model that never made these predictions.
    arrays = read_npz(run / PREDICTIONS, ("ids", "labels", "logits"))
    write_npz(run / PREDICTIONS, {**arrays, "logits": arrays["logits"][:, ::-1].copy()})
    with pytest.raises(ContractError, match="another model"):
        explain(run, data, [1])


def asks(*questions: Callable[[nn.Module, Tensor], object]) -> ExplainerSpec:
    """A stand-in that asks the model first, in these ways."""

    def work(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        for ask in questions:
            ask(model, images)
        return gradient(model, layers, images, targets)

    return replace(PLAIN, explain=work)


def written_over(model: nn.Module, images: Tensor) -> None:
    model(images.neg_())
    images.neg_()


def with_other_weights(model: nn.Module, images: Tensor) -> None:
    for each in model.parameters():
        each.data.mul_(2)
    model(images)
    for each in model.parameters():
        each.data.div_(2)


def passes(run: Path, data: Dataset, spec: ExplainerSpec) -> int:
    """Forward passes of the run's own model that explaining five images at two layers takes, the warm-up's left out."""
    trained, counted = opened(run), []
    trained.model.register_forward_hook(lambda _, asked, __: counted.append(len(asked[0])))
    explain_run(
        trained, data, Wanted({spec.name: spec}, ("layer3", "layer4"), "both"), np.arange(5), workspace=Workspace()
    )
    return sum(each == 5 for each in counted)


def plain_pass(model: nn.Module, images: Tensor) -> object:
    return model(images)


@pytest.mark.parametrize("question", [plain_pass, lambda model, images: model(images.detach().requires_grad_())])
def test_logits_are_those_of_the_explainers_own_pass_where_it_makes_one(
    run: Path, data: Dataset, question: Callable[[nn.Module, Tensor], object]
) -> None:
    assert passes(run, data, asks(question)) == 1
    assert_logits_of_the_run(run)


@pytest.mark.parametrize(
    "question",
    [
        lambda model, images: model(images.clone()),
        lambda model, images: model(images[:2]),
        lambda model, images: deepcopy(model)(images),
    ],
)
def test_an_answer_about_other_images_or_of_a_copy_is_not_heard(
    run: Path, question: Callable[[nn.Module, Tensor], object]
) -> None:
    model, images = opened(run).model, torch.rand(5, 3, 32, 32)
    with overheard(model, images) as heard:
        question(model, images)
        assert heard == []
        answer = model(images)
        model(images.neg_())
    model(images)
    assert len(heard) == 1 and torch.equal(heard[0], answer)


@pytest.mark.parametrize("question", [lambda model, images: model(images.transpose(2, 3)), written_over])
def test_an_answer_to_the_same_memory_read_otherwise_is_never_taken_for_the_logits(
    run: Path, data: Dataset, question: Callable[[nn.Module, Tensor], object]
) -> None:
    assert passes(run, data, asks(question)) == 2  # its own, and ours
    assert_logits_of_the_run(run)


def test_logits_that_an_explainer_changed_for_a_while_are_made_anew(run: Path, data: Dataset) -> None:
    assert passes(run, data, asks(with_other_weights)) == 2  # its own, and ours
    assert_logits_of_the_run(run)


def assert_logits_of_the_run(run: Path) -> None:
    cell = read_cell(cell_path(run, "plain", "layer3"))
    assert len(cell.ids)


def test_weights_that_were_swapped_are_refused(run: Path) -> None:
    state, head = read_checkpoint(run / CHECKPOINT)
    write_checkpoint(run / CHECKPOINT, {key: value + 1 for key, value in state.items()}, head)
    with pytest.raises(StoreError, match="not the file this run ended with"):
        opened(run)


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [(StoreError("planted reason"), "failed", "planted reason"), (KeyboardInterrupt(), "interrupted", "interrupted")],
)
def test_a_run_that_did_not_end_says_why_is_not_explained_and_has_no_half_written_file(
    error: BaseException, status: str, says: str, tmp_path: Path, data: Dataset
) -> None:
    begin(tmp_path, Workspace(runs=tmp_path.parent), data, TrainRequest(TINY_FILE), CPU)
    with pytest.raises(type(error)), recorded(tmp_path):
        raise error
    assert read_record(tmp_path).status == status
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", ".lock"}
    with pytest.raises(StoreError, match=says):
        opened(tmp_path)


def test_a_plug_in_that_breaks_its_contract_is_named(run: Path, data: Dataset) -> None:
    def careless(model: nn.Module, *rest: Any) -> dict[str, Tensor]:
        model.train()
        return gradient(model, *rest)

    with pytest.raises(ContractError, match="careless_one"):
        explain(run, data, [1], spec=replace(PLAIN, name="careless_one", explain=careless))


def test_where_predicted_and_true_class_coincide_the_row_is_kept_once(run: Path, data: Dataset) -> None:
    predictions = read_predictions(run)
    right = int(np.setdiff1d(predictions.ids, predictions.wrong)[0])
    explain(run, data, [right])
    cell = read_cell(cell_path(run, "plain", "layer3"))
    assert (cell.ids.tolist(), cell.classes.tolist()) == ([right], [int(predictions.labels[right])])


@pytest.mark.parametrize("name", list(discover("explainer", ExplainerSpec)))
def test_every_registered_explainer_runs_end_to_end(run: Path, data: Dataset, name: str) -> None:
    spec = discover("explainer", ExplainerSpec)[name]
    explain(run, data, [0, 1, 2], spec=replace(spec, name="plain"))
    cell = read_cell(cell_path(run, "plain", "input" if spec.output == "input" else "layer3"))
    size = (16, 16) if spec.output == "layer" else (32, 32)
    assert (cell.raw.shape[1:], cell.output, cell.steps) == (size, spec.output, spec.steps)
    assert np.isfinite(cell.raw).all()


# --- everything there is: what fails is left out -----------------------------------------------------------


def refuses_layer3(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    if "layer3" in layers:
        raise ContractError("layer 'layer3' has no map")
    return gradient(model, layers, images, targets)


def breaks(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    raise RuntimeError("no such kernel\nand a long story")


PICKY = replace(PLAIN, name="picky", explain=refuses_layer3)
BROKEN = replace(PLAIN, name="broken", explain=breaks)


def explain_all(run: Path, data: Dataset, *specs: ExplainerSpec) -> tuple[list[tuple[str, str, int]], list[str]]:
    """What became of every cell, and what was told, when `all` brought the explainers in."""
    heard = Listener()
    ceilings = dict.fromkeys((spec.name for spec in specs), 200.0)
    wanted = Wanted({spec.name: spec for spec in specs}, ("layer3", "layer4"), "predicted", ceilings)
    results = explain_run(opened(run), data, wanted, np.array([1, 2]), workspace=Workspace(progress=heard))
    return [(each.explainer, each.layer, each.computed) for each in results], heard.warned


def test_of_all_explainers_one_that_fails_is_told_with_the_reason_and_the_others_go_on(
    run: Path, data: Dataset
) -> None:
    cells, words = explain_all(run, data, BROKEN, PICKY, PLAIN)
    assert cells == [("picky", "layer4", 2), ("plain", "layer3", 2), ("plain", "layer4", 2)]
    assert words == [
        "broken is left out at layer3: RuntimeError: no such kernel",
        "broken is left out at layer4: RuntimeError: no such kernel",
        "picky is left out at layer3: layer 'layer3' has no map",
    ]


def test_where_all_of_all_fail_the_first_failure_is_the_answer(run: Path, data: Dataset) -> None:
    with pytest.raises(RuntimeError, match="no such kernel"):
        explain_all(run, data, BROKEN)


def test_an_explainer_that_was_named_and_fails_ends_the_whole(run: Path, data: Dataset) -> None:
    with pytest.raises(ContractError, match="layer 'layer3' has no map"):
        explain(run, data, [1], spec=PICKY)


def test_layers_that_share_no_work_are_asked_for_one_by_one(run: Path, data: Dataset) -> None:
    explain(run, data, [1, 2], spec=replace(PLAIN, joint=False))
    assert CALLS == [(("layer3",), 1), (("layer3",), 2), (("layer4",), 1), (("layer4",), 2)]
    wanted = Wanted({"plain": replace(PLAIN, joint=False, cost=lambda layer: 50.0)}, ("layer3", "layer4"))
    assert [job.passes for job in plan(opened(run), wanted, np.array([7, 8]))] == [2 * (50 * 2 + 1)] * 2

"""The 32 mistakes of published CIFAR-10 trainings: for each the test that fails when it is made here again.

RAILS says where each is held. What no other file holds is held here, most of it on one run that goes the whole way:
from image files through training, explaining and the page's values to what is drawn.
"""

import ast
import inspect
import json
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from command_line import done, names_in
from docs_commands import DOCS, ROOT, fenced
from gallery_items import GalleryItem, MapView, items_of
from page_factory import corners_of, render_page, top_right
from PIL import Image
from tiny import CLASSES, QUICK, TINY, TINY_FILE, TinyNet, tiny_data, write_images
from torch import Tensor, nn

from bench import api
from bench.contracts import Dataset, ExplainerSpec, ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.data.transforms import denormalise, prepare
from bench.errors import ContractError, StoreError
from bench.explaining.plan import Wanted
from bench.explaining.runner import explain_run
from bench.nets.trained import Trained, open_run
from bench.nets.weights import build_seeded
from bench.pages.build import run_page
from bench.pages.write import page_of
from bench.recipes.recipe import ABOUT, RECIPES, SETTINGS, Recipe
from bench.registry.registry import discover
from bench.request import TrainRequest
from bench.schema.page import EpochPoint, Page
from bench.store.files import read_checkpoint, read_lines, read_npz, write_npz
from bench.store.folder import RunFolder, read_run
from bench.store.paths import CHECKPOINT, LOG, PREDICTIONS, cell_path
from bench.store.predictions import choose_ids, read_predictions
from bench.store.rows import read_cell
from bench.store.runs import read_record, write_record
from bench.training import lr_finder as lrfinding
from bench.training.init import doubts
from bench.training.loader import Batches
from bench.training.loop import TrainSettings, train_model
from bench.training.run import Job, begin, complete
from bench.workspace import Workspace

CPU = torch.device("cpu")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TESTS = Path(__file__).parent
ALL: dict[str, Any] = {"translate": 4, "flip": "random", "cutout": 16}
NOTHING: dict[str, Any] = {"translate": 0, "flip": "none", "cutout": 0}

RAILS: dict[str, tuple[str, ...]] = {
    "G1": (  # a loss that is no cross entropy of logits
        "test_checks.py::test_outputs_that_are_no_logits_stop_the_run_before_the_first_step",
        "test_checks.py::test_a_loss_that_is_no_cross_entropy_stops_the_run",
        "test_checks.py::test_a_loss_that_is_not_finite_stops_the_run_and_says_when",
        "test_checks.py::test_a_first_loss_more_than_half_a_nat_from_ln_k_is_refused",
        "test_checks.py::test_labels_that_mean_nothing_stop_the_run_at_chance_level",
        "test_checks.py::test_chance_level_is_not_judged_before_500_steps_and_spares_a_slow_start",
    ),
    "G2": (  # augmentation drawn once and kept
        "test_transforms.py::test_two_epochs_of_the_default_differ_and_the_first_is_what_the_slow_plain_way_gives",
        "test_guard_rails.py::test_the_same_image_looks_different_in_two_epochs",
    ),
    "G3": (  # a gallery of training images, in training mode, of weights that still move
        "test_evaluation.py::test_prediction_uses_eval_mode_and_puts_every_training_flag_back",
        "test_guard_rails.py::test_the_gallery_shows_test_images_and_what_the_final_weights_say_of_them",
    ),
    "G4": (  # one map laid over every image
        "test_explainers.py::test_wrong_targets_are_refused",
        "test_guard_rails.py::test_every_image_of_the_page_bears_its_own_map",
    ),
    "G5": (  # every map speaks for the cat
        "test_plan.py::test_targets_are_the_predicted_and_the_true_class_in_this_order",
        "test_guard_rails.py::test_every_error_is_shown_for_its_predicted_and_its_true_class",
    ),
    "G6": (  # an overlay of values outside 0..1
        "test_postprocess.py::test_a_picture_of_single_precision_is_that_of_the_slow_reference_and_lies_within_0_and_1",
        "test_guard_rails.py::test_everything_drawn_lies_within_0_and_1",
    ),
    "G7": (  # published commands that cannot run
        "test_docs.py::test_command_of_the_docs_parses",
        "test_guard_rails.py::test_the_commands_of_the_readme_run_as_they_stand",
        "test_guard_rails.py::test_ci_runs_the_demo_of_the_readme",
    ),
    "G8": (  # a fill in another space than the images
        "test_transforms.py::test_the_square_has_the_mean_colour_which_is_near_zero_for_the_model",
        "test_guard_rails.py::test_what_is_cut_out_of_a_training_batch_is_near_zero_for_the_model",
    ),
    "G9": (  # maps of another model than the one that predicted
        "test_explaining.py::test_another_model_than_the_one_that_predicted_is_refused",
        "test_explaining.py::test_weights_that_were_swapped_are_refused",
        "test_run_views.py::test_a_run_that_explained_nothing_is_read_and_cells_of_another_checkpoint_are_left_out",
        "test_guard_rails.py::test_predictions_of_another_model_make_no_page",
    ),
    "G10": (  # floats that wrap around in uint8
        "test_transforms.py::test_values_out_of_range_are_clamped_never_wrapped",
        "test_transforms.py::test_all_256_levels_come_back",
    ),
    "G11": (  # height and width exchanged
        "test_guard_rails.py::test_pictures_come_to_the_page_the_right_way_round",
        "test_guard_rails.py::test_a_figure_shows_picture_and_map_the_right_way_round",
        "test_gallery_browser.py::test_a_browser_shows_picture_and_map_the_right_way_round",
        "test_postprocess.py::test_an_unresized_map_is_only_scaled_and_a_corner_stays_in_its_corner",
    ),
    "G12": (  # classes counted over a part of the images
        "test_evaluation.py::test_per_class_mean_equals_overall_accuracy_on_balanced_data",
        "test_guard_rails.py::test_classes_of_the_page_add_up_to_the_whole_exactly",
    ),
    "G13": (  # a mean of batch means for the mean of the images
        "test_evaluation.py::test_a_mean_of_batch_means_would_be_another_figure",
        "test_evaluation.py::test_predictions_do_not_depend_on_the_batch_size",
        "test_evaluation.py::test_scores_equal_a_loop_over_the_images",
        "test_guard_rails.py::test_the_training_figures_of_an_epoch_are_those_of_its_images",
    ),
    "G14": (  # a resume that begins again, and work at import
        "test_resume.py::test_going_on_from_any_step_gives_the_weights_and_curves_of_the_whole_run",
        "test_architecture.py::test_importing_bench_imports_no_backend",
    ),
    "G15": (  # weights chosen on the test images
        "test_loop.py::test_training_never_looks_at_the_test_split",
        "test_guard_rails.py::test_test_images_are_seen_after_the_last_step_only_and_the_last_weights_are_kept",
    ),
    "G16": (  # a setting that no file tells
        "test_recipes.py::test_what_a_run_stores_makes_the_same_recipe_again",
        "test_guard_rails.py::test_every_setting_of_a_training_stands_in_its_record",
    ),
    "G17": (  # augmentation that does nothing, and a gap that nobody reports
        "test_guard_rails.py::test_settings_that_do_nothing_are_named",
        "test_guard_rails.py::test_a_size_is_held_against_the_images_that_the_model_gets",
        "test_guard_rails.py::test_a_training_begins_with_a_warning_of_settings_that_do_nothing",
        "test_guard_rails.py::test_every_part_of_the_augmentation_alone_changes_images",
        "test_guard_rails.py::test_the_page_says_how_far_training_accuracy_lies_above_test",
    ),
    "G18": (  # a fill for floats on bytes: black
        "test_transforms.py::test_dark_frames_show_when_a_fill_is_in_the_wrong_space",
        "test_guard_rails.py::test_what_is_cut_out_of_a_training_batch_is_near_zero_for_the_model",
    ),
    "G19": (  # lists of a module that grow from call to call
        "test_architecture.py::test_no_module_holds_an_empty_container_to_be_filled_later",
        "test_architecture.py::test_no_function_rebinds_a_name_of_its_module",
    ),
    "G20": (  # a stem that loses the border
        "test_models.py::test_a_model_bears_its_name_has_resnet18s_parameters_and_gives_logits_and_maps_of_32_16_8_4_cells",
        "test_guard_rails.py::test_a_stem_without_its_border_breaks_the_shapes_of_resnet18",
    ),
    "G21": (  # a border and squares in normalised space, squares as large as the image
        "test_transforms.py::test_the_border_is_reflected_so_no_new_colour_appears",
        "test_transforms.py::test_more_than_half_of_the_picture_is_refused",
        "test_contact_sheets.py::test_an_augment_sheet_shows_the_very_tensors_of_the_batch",
    ),
    "G22": (  # other statistics than those of the training
        "test_guard_rails.py::test_statistics_come_from_the_checkpoint_and_no_others_pass",
    ),
    "G23": (  # a gallery that fails as soon as it needs a second batch
        "test_guard_rails.py::test_one_image_a_batch_gives_the_rows_of_large_batches",
    ),
    "G24": (  # another gallery at each call, seeds set too late
        "test_plan.py::test_the_order_depends_on_labels_alone_and_is_no_file_order",
        "test_guard_rails.py::test_neither_the_gallery_nor_the_training_depends_on_global_generators",
        "test_guard_rails.py::test_images_are_chosen_in_one_order_whatever_the_seed_of_the_run",
    ),
    "G25": (  # a learning rate that ends below 0
        "test_recipes.py::test_the_learning_rate_is_two_straight_lines_and_never_negative",
        "test_recipes.py::test_a_step_outside_the_training_is_refused",
        "test_guard_rails.py::test_no_recipe_has_a_rate_below_0_where_one_cycle_has",
    ),
    "G26": (  # a range test that starts too high, and its left edge for a finding
        "test_lr_finder.py::test_rates_start_at_1e_7_and_grow_by_one_factor",
        "test_lr_finder.py::test_the_suggestion_is_where_the_curve_falls_fastest_and_marked_at_an_edge",
        "test_guard_rails.py::test_a_suggestion_at_an_edge_comes_with_a_warning",
    ),
    "G27": (  # live tensors kept from step to step
        "test_loop.py::test_memory_is_not_kept_between_epochs",
    ),
    "G28": (  # explaining in training mode
        "test_explainers.py::test_model_in_training_mode_is_explained_in_eval_mode_frozen_and_where_no_gradient_is_recorded",
        "test_guard_rails.py::test_a_run_is_explained_in_eval_mode_and_its_flags_are_put_back",
    ),
    "G29": (  # a mean of batch accuracies, and an epoch that was not the last
        "test_evaluation.py::test_scores_equal_a_loop_over_the_images",
        "test_guard_rails.py::test_the_last_epoch_of_the_page_is_that_of_the_log",
        "test_guard_rails.py::test_validation_counts_images_whatever_the_batch",
    ),
    "G30": (  # an input divided by 255 twice, red for blue
        "test_transforms.py::test_normalised_values_are_the_formula",
        "test_guard_rails.py::test_pictures_come_to_the_page_the_right_way_round",
        "test_guard_rails.py::test_the_gallery_shows_test_images_and_what_the_final_weights_say_of_them",
    ),
    "G31": (  # prints left in the code, figures typed by hand
        "test_architecture.py::test_only_the_console_prints",
        "test_guard_rails.py::test_measured_figures_of_the_docs_stand_where_a_tool_writes_them",
    ),
    "G32": (  # the mean of each image's deviation for the deviation of all pixels
        "test_datasets.py::test_statistics_are_those_of_the_training_split_over_all_pixels",
        "test_datasets.py::test_the_known_statistics_of_cifar10_come_out_within_jpeg_error",
        "test_guard_rails.py::test_a_checkpoint_holds_the_deviation_of_all_pixels_not_the_mean_of_each_images_own",
    ),
}


def names_of_tests(file: str) -> set[str]:
    """Names of the test functions of a file; none of one that is not there."""
    path = TESTS / file
    body = ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []
    return {f"{file}::{node.name}" for node in body if isinstance(node, ast.FunctionDef)}


def missing(named: set[str]) -> set[str]:
    """The named tests that are not there."""
    return {one for one in named if one not in names_of_tests(one.split("::")[0])}


def test_all_32_rails_have_tests_that_are_there_and_every_test_here_holds_one() -> None:
    assert list(RAILS) == [f"G{number}" for number in range(1, 33)] and all(RAILS.values())
    named = {one for tests in RAILS.values() for one in tests}
    gone = {"test_checks.py::test_gone", "test_gone.py::test_gone"}
    assert (missing(named), missing(gone)) == (set(), gone)
    here = {one for one in names_of_tests(Path(__file__).name) if "::test_" in one}
    assert len(here - named) == 1  # this one


# --- one run, from image files to a page --------------------------------------------------------------------


@dataclass(frozen=True)
class Whole:
    """A run that went the whole way, and the image files it came from."""

    images: Path
    place: Workspace
    folder: Path
    page: Page
    data: Dataset

    def opened(self) -> Trained:
        return open_run(RunFolder(self.folder), "cpu", self.place)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Two epochs on images of noise, of which none is its own mirror image; every test image explained by Captum."""
    root = tmp_path_factory.mktemp("whole")
    images = write_images(root / "images", tiny_data(train=16, test=6))
    place = Workspace(runs=root / "runs", cache=root / "cache")
    folder = api.train(
        TINY_FILE, data=str(images), recipe="demo", epochs=2, lr=0.01, seed=3, val=0.25, device="cpu", workspace=place
    )
    api.explain(folder.name, explainer=["captum"], layer=["layer4"], which="all", device="cpu", workspace=place)
    data = load_dataset(str(images), cache=place.cache, progress=Silence())
    return Whole(images, place, folder, page_of(RunFolder(folder), place), data)


def picture_of(whole: Whole, item: GalleryItem) -> np.ndarray:
    """(32, 32, 3) uint8, as Pillow reads the file the page names."""
    return np.asarray(Image.open(whole.images / item.file).convert("RGB"))


def plain_net(folder: Path) -> nn.Module:
    """The run's net from its checkpoint, without anything of the suite's opening of runs."""
    net = TinyNet(len(CLASSES))
    net.load_state_dict(read_checkpoint(folder / CHECKPOINT)[0])
    return net.eval()


def plain_input(whole: Whole, picture: np.ndarray) -> Tensor:
    """(1, 3, 32, 32): the written-out formula of normalised pixels, with the statistics of the record."""
    about = read_record(whole.folder).data
    scaled = (picture / 255 - np.array(about.mean)) / np.array(about.std)
    return torch.from_numpy(scaled.transpose(2, 0, 1).copy()).float()[None]


def raw_of(one: MapView, page: Page) -> np.ndarray:
    """(h, w) the map's values, up to half a level."""
    cell = page.cells[one.cell]
    levels = np.frombuffer(one.levels, np.uint8).reshape(cell.height, cell.width)
    return one.low + levels / 255 * (one.high - one.low)


def test_pictures_come_to_the_page_the_right_way_round(whole: Whole) -> None:
    html = render_page(whole.page)
    rendered, shard = (json.loads(re.search(rf'id="{one}">(.*?)</', html, re.S)[1]) for one in ("data", "shard0"))
    sheet = np.asarray(Image.open(BytesIO(b64decode(shard["pictures"][0].split(",")[1]))).convert("RGB"))
    assert len(whole.page.gallery.ids) == 24
    for place, item in enumerate(items_of(whole.page)):
        row, column = divmod(place, rendered["columns"])
        drawn = sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        file = picture_of(whole, item)
        assert np.array_equal(drawn, file) and item.pixels == file.tobytes()
        for planted in (file.transpose(1, 0, 2), file[::-1], file[:, ::-1], file[:, :, ::-1]):
            assert not np.array_equal(drawn, planted)


def test_the_gallery_shows_test_images_and_what_the_final_weights_say_of_them(whole: Whole) -> None:
    assert {item.id for item in items_of(whole.page)} == set(range(24))
    for item in items_of(whole.page):
        assert item.file == whole.data.test.names[item.id] and item.file.startswith("test/")
        net, inputs, said = plain_net(whole.folder), plain_input(whole, picture_of(whole, item)), item.predictions[0]
        shares, planted = (
            each(inputs)[0].detach().double().softmax(0) for each in (net, plain_net(whole.folder).train())
        )
        assert said.predicted == int(shares.argmax())
        assert said.probability == pytest.approx(float(shares.max()), abs=1e-4)
        assert said.probability != pytest.approx(float(planted.max()), abs=1e-4)


def test_every_image_of_the_page_bears_its_own_map(whole: Whole) -> None:
    captum, net = discover("explainer", ExplainerSpec)["captum"], plain_net(whole.folder)

    def truth(item: GalleryItem, target: int) -> np.ndarray:
        inputs = plain_input(whole, picture_of(whole, item))
        return captum.explain(net, ("layer4",), inputs, torch.tensor([[target]]))["layer4"][0, 0].numpy()

    def is_that_of(one: MapView, item: GalleryItem) -> bool:
        wanted = truth(item, one.target)
        half = (one.high - one.low) / 255
        return bool(np.abs(raw_of(one, whole.page) - wanted).max() <= half + 1e-4 * np.abs(wanted).max())

    items = items_of(whole.page)
    for item, other in zip(items, (*items[1:], items[0]), strict=True):
        assert all(is_that_of(one, item) for one in item.maps)
        assert not any(is_that_of(one, other) for one in item.maps)


def test_every_error_is_shown_for_its_predicted_and_its_true_class(whole: Whole) -> None:
    wrong = [item for item in items_of(whole.page) if item.predictions[0].predicted != item.true]
    assert wrong, "a run without errors shows nothing here"
    for item in wrong:
        roles = {one.role: one.target for one in item.maps}
        assert roles == {"predicted": item.predictions[0].predicted, "true": item.true}
    assert len({one.target for item in wrong for one in item.maps}) > 1


def test_classes_of_the_page_add_up_to_the_whole_exactly(whole: Whole) -> None:
    run = whole.page.runs[0]
    shares = [Fraction(row.correct, row.total) for row in run.per_class]
    assert sum(row.total for row in run.per_class) == run.total == len(whole.data.test)
    assert sum(shares) / len(shares) == Fraction(run.correct, run.total)
    planted = read_predictions(whole.folder).labels.reshape(-1, 8)[:, :4]  # the first four of every batch
    assert planted.size != run.total


def test_every_setting_of_a_training_stands_in_its_record(whole: Whole) -> None:
    record = read_record(whole.folder)
    wanted = set(inspect.signature(api.train).parameters) - {
        "run",
        "resume",
        "dry_run",
        "on",
        "slurm",
        "workspace",
        "origins",
    }
    assert {each.name for each in fields(Recipe)} - set(ABOUT) <= wanted
    elsewhere = {"warm_start", "team"}  # pretrained and the environment say them
    assert {each.name for each in fields(TrainSettings)} - elsewhere <= wanted | {"recipe"}
    assert wanted == set(record.settings) == set(record.request.origins)
    assert None not in [record.settings[name] for name in SETTINGS], "the recipe's values stand there, too"
    assert f"seed {record.settings['seed']}" in dict(whole.page.provenance[0][1])["config"]


def test_the_last_epoch_of_the_page_is_that_of_the_log(whole: Whole) -> None:
    run, log = whole.page.runs[0], read_lines(whole.folder / LOG)
    assert [point.epoch for point in run.curve] == [line["epoch"] for line in log] == [1, 2]
    assert (run.epochs, run.accuracy.value) == (log[-1]["epoch"], read_record(whole.folder).results.accuracy)


def test_the_page_says_how_far_training_accuracy_lies_above_test(whole: Whole) -> None:
    run = whole.page.runs[0]
    curve = (replace(run.curve[-1], train_accuracy=0.9682),)
    planted = replace(run, curve=curve, accuracy=replace(run.accuracy, value=0.83))
    page = re.sub(r"<[^>]+>", " ", render_page(replace(whole.page, runs=(planted,))))
    assert re.search(r"training accuracy\s+96\.82\s%\s+last epoch; \+13\.82 points to test", page)


def test_a_checkpoint_holds_the_deviation_of_all_pixels_not_the_mean_of_each_images_own(whole: Whole) -> None:
    files = sorted((whole.images / "train").glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]) / 255
    head = read_checkpoint(whole.folder / CHECKPOINT)[1]
    assert head["mean"] == pytest.approx(pixels.mean((0, 1, 2)).tolist(), abs=1e-12)
    assert head["std"] == pytest.approx(pixels.std((0, 1, 2)).tolist(), abs=1e-12)
    assert head["std"] != pytest.approx(pixels.std((1, 2)).mean(0).tolist(), rel=0.01)


# --- explaining ---------------------------------------------------------------------------------------------


@pytest.fixture
def copy(whole: Whole, tmp_path: Path) -> Whole:
    """The same run in a folder of its own."""
    return replace(whole, folder=Path(shutil.copytree(whole.folder, tmp_path / whole.folder.name)))


def maps_of(run: Whole, trained: Trained, data: Dataset, **changes: Any) -> np.ndarray:
    """(R, h, w) raw maps of ten images by Captum, made now."""
    shutil.rmtree(run.folder / "explain", ignore_errors=True)
    spec = replace(discover("explainer", ExplainerSpec)["captum"], **changes)
    wanted = Wanted({"captum": spec}, ("layer4",))
    explain_run(trained, data, wanted, np.arange(10), workspace=Workspace())
    cell = read_cell(cell_path(run.folder, "captum", "layer4"))
    assert set(cell.ids.tolist()) == set(range(10)), "images of later batches are there too"
    return cell.raw


def test_statistics_come_from_the_checkpoint_and_no_others_pass(copy: Whole) -> None:
    mean, std = IMAGENET
    maps_of(copy, copy.opened(), replace(copy.data, mean=mean, std=std))
    planted = replace(copy.opened(), statistics=IMAGENET)
    with pytest.raises(ContractError, match="another model"):
        maps_of(copy, planted, copy.data)


def test_predictions_of_another_model_make_no_page(copy: Whole) -> None:
    arrays = read_npz(copy.folder / PREDICTIONS, ("ids", "labels", "logits"))
    write_npz(copy.folder / PREDICTIONS, arrays | {"logits": arrays["logits"] * 1.001})
    with pytest.raises(StoreError, match="not the file this run was tested into") as caught:
        read_run(copy.folder)
    assert caught.value.try_ == f"bench evaluate {copy.folder.name}"


def test_one_image_a_batch_gives_the_rows_of_large_batches(copy: Whole) -> None:
    together = maps_of(copy, copy.opened(), copy.data)
    alone = maps_of(copy, copy.opened(), copy.data, max_batch=1)
    assert alone.shape == together.shape
    assert np.abs(alone - together).max() <= 1e-5 * np.abs(together).max()


def test_a_run_is_explained_in_eval_mode_and_its_flags_are_put_back(copy: Whole) -> None:
    expected = maps_of(copy, copy.opened(), copy.data)
    planted = copy.opened()
    planted.model.train()
    planted.model.layer3.eval()
    before = {name: module.training for name, module in planted.model.named_modules()}
    assert np.array_equal(maps_of(copy, planted, copy.data), expected)
    assert {name: module.training for name, module in planted.model.named_modules()} == before
    assert int(planted.model.layer4[1].num_batches_tracked) == int(copy.opened().model.layer4[1].num_batches_tracked)


def test_images_are_chosen_in_one_order_whatever_the_seed_of_the_run(copy: Whole) -> None:
    order = []
    for seed in (0, 1):
        record = read_record(copy.folder)
        write_record(copy.folder, replace(record, request=replace(record.request, seed=seed)))
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        maps_of(copy, copy.opened(), copy.data)
        page = run_page(read_run(copy.folder), created="")
        chosen = choose_ids(read_predictions(copy.folder), "all", 5).tolist()
        order.append((chosen, [item.id for item in items_of(page)]))
        wrong = [item.id for item in items_of(page) if len(item.maps) == 2]  # they have a map of either class
        assert read_cell(cell_path(copy.folder, "captum", "layer4")).ids.tolist() == sorted([*range(10), *wrong])
    assert order[0] == order[1]


# --- what is drawn ------------------------------------------------------------------------------------------


@contextmanager
def shown() -> Iterator[list[np.ndarray]]:
    """What matplotlib is given to draw."""
    from matplotlib.axes import Axes

    with mock.patch.object(Axes, "imshow", autospec=True, side_effect=Axes.imshow) as imshow:
        drawn: list[np.ndarray] = []
        yield drawn
        drawn += [np.asarray(call.args[1]) for call in imshow.call_args_list]


def figure_of(page: Page, path: Path) -> None:
    from bench.reports.figures.maps import gallery
    from bench.reports.figures.paper import Look, save

    cell = next(k for k, one in enumerate(page.cells) if (one.explainer, one.layer) == ("captum", "layer4"))
    save(lambda: gallery(page, range(len(page.gallery.ids)), [(cell, "predicted")], Look()), path)


def test_a_figure_shows_picture_and_map_the_right_way_round(tmp_path: Path) -> None:
    with shown() as drawn:
        figure_of(top_right(), tmp_path / "f.png")
    picture, overlay = drawn[:2]
    assert [red > 0.9 for red, *_ in corners_of(picture)] == [False, True, False, False]
    assert [green > 0.4 for _, green, *_ in corners_of(overlay - 0.45 * picture)] == [False, True, False, False]


def test_everything_drawn_lies_within_0_and_1(whole: Whole, tmp_path: Path) -> None:
    with shown() as drawn:
        figure_of(whole.page, tmp_path / "f.png")
    assert len(drawn) > 24
    assert all(values.min() >= 0 and values.max() <= 1 for values in drawn)
    assert plain_input(whole, picture_of(whole, items_of(whole.page)[0])).min() < 0


# --- training -----------------------------------------------------------------------------------------------


def batches_of(data: Dataset, *, seed: int = 0, **augmentation: Any) -> Batches:
    recipe = replace(QUICK, **augmentation)
    return Batches(data.train.images, recipe, mirror=True, seed=seed, statistics=(data.mean, data.std))


def test_the_same_image_looks_different_in_two_epochs() -> None:
    data, places = tiny_data(16), torch.arange(16)
    batches = batches_of(data, **ALL)
    first, second = (batches.inputs(places, epoch) for epoch in (0, 1))
    assert all((one != other).any() for one, other in zip(first, second, strict=True))
    assert torch.equal(first, batches_of(data, **ALL).inputs(places, 0))


def test_what_is_cut_out_of_a_training_batch_is_near_zero_for_the_model() -> None:
    data = replace(tiny_data(16), mean=(0.8, 0.5, 0.2))
    white = replace(data, train=replace(data.train, images=torch.full_like(data.train.images, 255)))
    inputs = batches_of(white, **{**NOTHING, "cutout": 16}).inputs(torch.arange(16), 0)
    levels = torch.tensor([255, 0], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 1, 1)
    as_white, as_black = prepare(levels, (data.mean, data.std)).split(1)
    cut = (inputs != as_white).any(1, keepdim=True).expand_as(inputs)
    assert cut.flatten(1).any(1).all()
    assert float(inputs[cut].abs().max()) <= 0.5 / 255 / min(data.std) + 1e-6
    assert float(as_black.abs().min()) > 0.5, "a fill for floats on bytes would be black"


@pytest.mark.parametrize(
    "part",
    [{"translate": 4}, {"translate": 1}, {"flip": "random"}, {"flip": "alternating"}, {"cutout": 16}],
    ids=str,
)
def test_every_part_of_the_augmentation_alone_changes_images(part: dict[str, Any]) -> None:
    data = tiny_data(16)
    seen = denormalise(batches_of(data, **{**NOTHING, **part}).inputs(torch.arange(64), 0), data.mean, data.std)
    assert float((seen != data.train.images).flatten(1).any(1).float().mean()) > 0.3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flip": "random"}, "flip has no effect: tiny may not be mirrored"),
        ({"flip": "alternating"}, "flip has no effect: tiny may not be mirrored"),
        ({"sizes": ((16, 0.4),)}, "size 16:0.4 has no effect: 2 epochs are too few"),
        ({"sizes": ((32, 0.5),)}, "size 32:0.5 has no effect: the images have 32 pixels"),
        ({"sizes": ((40, 0.5),)}, "size 40:0.5 has no effect: the images have 32 pixels"),
    ],
)
def test_settings_that_do_nothing_are_named(changes: dict[str, Any], words: str) -> None:
    (told,) = doubts(replace(QUICK, **changes), tiny_data(), 32)
    assert words in told and "--" in told
    assert doubts(replace(QUICK, sizes=((16, 0.5),)), tiny_data(), 32) == []


@pytest.mark.parametrize(("size", "words"), [(16, "no effect: the images have 16"), (64, ""), (224, "leaves little")])
def test_a_size_is_held_against_the_images_that_the_model_gets(size: int, words: str) -> None:
    told = doubts(replace(QUICK, sizes=((16, 0.5),)), tiny_data(), size)
    assert [words in each for each in told] == [True] * bool(words)


@pytest.mark.parametrize(("flip", "warned"), [("random", True), ("none", False)])
def test_a_training_begins_with_a_warning_of_settings_that_do_nothing(flip: str, warned: bool, tmp_path: Path) -> None:
    words = ["train", "--model", TINY_FILE, "--data", "digits", "--flip", flip, "--dry-run"]
    assert ("flip has no effect: digits may not be mirrored" in done(*words, runs=tmp_path).stderr) is warned


def test_neither_the_gallery_nor_the_training_depends_on_global_generators() -> None:
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        net = build_seeded(TINY, 4, 0)
        settings = TrainSettings(replace(QUICK, translate=4, flip="random", cutout=16), seed=5)
        train_model(net, replace(tiny_data(16), mirror=True), settings, device=CPU, progress=Silence())
        states.append(net.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_test_images_are_seen_after_the_last_step_only_and_the_last_weights_are_kept(tmp_path: Path) -> None:
    folder, net, data = tmp_path / "run", build_seeded(TINY, 4, 0), tiny_data(16)
    folder.mkdir()
    place = Workspace(runs=tmp_path)
    begin(folder, place, data, TrainRequest(TINY_FILE), CPU)
    flags: list[bool] = []
    last: dict[str, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        flags.append(module.training)
        if not module.training and not last:
            last.update({key: value.clone() for key, value in module.state_dict().items()})

    net.register_forward_pre_hook(note)
    complete(Job(folder, net, data, TrainSettings(QUICK, val=0), CPU), place)
    steps = QUICK.epochs * 64 // QUICK.batch_size
    assert flags[:steps] == [True] * steps and not any(flags[steps:])
    kept, _ = read_checkpoint(folder / CHECKPOINT)
    assert all(torch.equal(kept[key], value) for key, value in last.items())


def test_validation_counts_images_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.training import loop

    accuracies = []
    for batch in (64, 5):  # of 28 images 5 leave a last batch of 3
        monkeypatch.setattr(loop, "BATCH", batch)
        settings = TrainSettings(replace(QUICK, epochs=1, lr=0.005), val=0.45)
        accuracies.append(epoch_of(build_seeded(TINY, 4, 0), tiny_data(16), settings).val_accuracy)
    assert accuracies[0] == accuracies[1] == pytest.approx(round(accuracies[0] * 28) / 28, abs=1e-9)
    assert 0 < accuracies[0] < 1, "at either end batches say nothing"


def epoch_of(net: nn.Module, data: Dataset, settings: TrainSettings) -> EpochPoint:
    """What a training of one epoch says of it."""
    points: list[EpochPoint] = []
    train_model(net, data, settings, device=CPU, progress=Silence(), on_epoch=points.append)
    return points[0]


def test_the_training_figures_of_an_epoch_are_those_of_its_images() -> None:
    recipe = replace(QUICK, epochs=1, lr=0.0, **NOTHING)
    data, net = tiny_data(16), build_seeded(TINY, 4, 0)
    loss = right = 0.0
    for batch in batches_of(data, **NOTHING).shuffled():
        labels = data.train.labels[batch]
        logits = net(prepare(data.train.images[batch], (data.mean, data.std)))
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
    found = epoch_of(build_seeded(TINY, 4, 0), data, TrainSettings(recipe, val=0))
    assert (found.train_loss, found.train_accuracy) == (pytest.approx(loss / 64, rel=1e-5), right / 64)
    assert found.train_loss != pytest.approx(loss / 16 / 64, rel=0.1), "batch means over the number of images"


# --- learning rates -----------------------------------------------------------------------------------------


def test_no_recipe_has_a_rate_below_0_where_one_cycle_has() -> None:
    total = 1960
    for recipe in RECIPES.values():
        assert min(recipe.learning_rate(step, total) for step in range(total)) >= 0
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    planted = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4.61e-2, total_steps=total, pct_start=0.1, div_factor=100, final_div_factor=100,
        anneal_strategy="linear",
    )  # fmt: skip
    for _ in range(total):
        optimizer.step()
        planted.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(-2.152e-5, rel=1e-3)


@pytest.mark.parametrize(("edge", "warned"), [(0.6, True), (-1.0, False)])
def test_a_suggestion_at_an_edge_comes_with_a_warning(
    edge: float, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", tiny_data(train=8, test=2))
    monkeypatch.setattr(lrfinding, "EDGE", edge)
    words = ["lr-find", "--model", TINY_FILE, "--data", str(images), "--batch-size", "8", "--steps", "12"]
    assert ("edge of the curve" in done(*words, runs=tmp_path / "runs").stderr) is warned


# --- shapes of the net --------------------------------------------------------------------------------------


def edges_of(net: nn.Module) -> list[int]:
    """Cells an edge at stem and stages for an image of 32 pixels."""
    found: dict[str, int] = {}
    for name in ("conv1", "layer1", "layer2", "layer3", "layer4"):
        keep = lambda module, inputs, output, name=name: found.update({name: output.shape[2]})  # noqa: E731
        net.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32))
    return list(found.values())


@pytest.mark.parametrize("name", ["cifar_resnet18", "timm_resnet18", "torchvision_resnet18"])
def test_a_stem_without_its_border_breaks_the_shapes_of_resnet18(name: str) -> None:
    net = discover("model", ModelSpec)[name].build(10)
    assert edges_of(net) == [32, 32, 16, 8, 4]
    net.conv1 = nn.Conv2d(3, 64, 7, padding=1, bias=False)
    assert edges_of(net) == [28, 28, 14, 7, 4]


# --- what the docs say --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands_of_the_readme_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = fenced((ROOT / "README.md").read_text(encoding="utf-8"), "sh")
    (block,) = (
        block
        for block in blocks
        if re.match(r"bench train .*\nbench explain .*\nbench judge.*\nbench compare RUN RUN", block)
    )
    train, explain, judge, compare = (line.partition("#")[0].split()[1:] for line in block.splitlines())
    monkeypatch.chdir(tmp_path)
    images = write_images(tmp_path / "images", tiny_data(train=4, test=2))
    settings = {
        "DATA": str(images),
        "EPOCHS": "1",
        "BATCH_SIZE": "4",
        "LIMIT": "8",
        "VAL": "0",
        "LR": "0.001",
        "NO_TIME": "1",
    }
    for words in (train, train, explain, judge, compare):
        names = iter(names_in(tmp_path / "runs") if words == compare else ())
        typed = [next(names) if word == "RUN" else word for word in words]
        result = done(*typed, env={f"BENCH_{name}": value for name, value in settings.items()})
        assert Path(result.stdout.splitlines()[-1]).is_file()


def test_ci_runs_the_demo_of_the_readme() -> None:
    assert re.search(r"^make .*\bdemo\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo: .*\n\t\$\(BIN\)/bench demo$", makefile, re.MULTILINE)


WRITTEN = re.compile(r"<!-- ([\w ]+): begin -->.*?<!-- \1: end -->", re.DOTALL)
MEASURED = re.compile(r"\d(?:[\d.,]*\d)? ?(?:%|images/s|ms\b)")
CONVENTIONS = ("95 %",)  # of an interval


def typed_figures(text: str) -> list[str]:
    """Measured figures that stand outside of what a tool writes."""
    return [found for found in MEASURED.findall(WRITTEN.sub("", text)) if found not in CONVENTIONS]


def test_measured_figures_of_the_docs_stand_where_a_tool_writes_them() -> None:
    assert [path.name for path in DOCS if typed_figures(path.read_text(encoding="utf-8"))] == []
    measured = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("results.md", "measurements.md")]
    assert all(MEASURED.search(text) for text in measured), "nothing is left to guard"
    assert typed_figures("It makes 95.01 % at 1,137 images/s; its 95 % interval is wide.") == [
        "95.01 %",
        "1,137 images/s",
    ]
    for text in measured:
        for match in WRITTEN.finditer(text):
            assert "benchmarks/" in text[: match.start()], "the command that writes it is named before"

"""Where a training starts: shared and pretrained weights, and what it will take."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from listening import Listener
from tiny import BUSY, QUICK, RESIDUAL, TINY, TinyNet, finished_run, images_of, tiny_data
from torch import Tensor, nn

from bench.contracts import ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.data.transforms import normalise
from bench.errors import StoreError, UsageError
from bench.estimates import duration, say_how_long
from bench.nets.weights import build_seeded
from bench.recipes.recipe import find_recipe
from bench.registry.registry import discover
from bench.schema.page import EpochPoint
from bench.store.runs import read_record
from bench.training.init import PATCH_IMAGES, initial_model, initialise, load_pretrained, whiten_stem, zero_residuals
from bench.training.loop import TrainSettings, train_model
from bench.workspace import Workspace

CPU = torch.device("cpu")
MODELS = discover("model", ModelSpec)
STATISTICS = ((0.25, 0.3, 0.35), (0.2, 0.25, 0.3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.slow
def test_one_shared_initialisation_and_one_seed_give_three_equal_loss_curves(tmp_path: Path) -> None:
    data = load_dataset("digits", cache=tmp_path, progress=Silence())
    recipe = replace(find_recipe("demo"), epochs=2, translate=4, flip="none", cutout=8)
    settings = TrainSettings(recipe, seed=5, val=0, limit=80)
    curves = []
    for name in MODELS:
        points: list[EpochPoint] = []
        net = initial_model(MODELS[name], MODELS, classes=10, seed=5, init="shared")
        train_model(net, data, settings, device=CPU, progress=Silence(), on_epoch=points.append)
        curves.append([(point.train_loss, point.train_accuracy) for point in points])
    assert len(curves[0]) == 2 and curves[0] == curves[1] == curves[2]


def test_native_initialisations_differ_between_the_code_bases() -> None:
    by_hand, torchvision = (
        initial_model(MODELS[name], MODELS, classes=10, seed=0, init="native").conv1.weight
        for name in ("cifar_resnet18", "torchvision_resnet18")
    )
    assert not torch.equal(by_hand, torchvision)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny net."""
    return finished_run(tmp_path_factory.mktemp("runs") / "first", tiny_data(16, 4))


@pytest.mark.parametrize("how", ["name", "folder", "file"])
def test_training_starts_from_the_weights_of_a_run(run: Path, how: str) -> None:
    source = {"name": "first", "folder": f"{run}/", "file": str(run / "checkpoint.safetensors")}[how]
    net = build_seeded(TINY, 4, 9)
    assert load_pretrained(net, source, TINY, Workspace().models, run.parent) == []
    assert not torch.equal(net.fc.weight, build_seeded(TINY, 4, 9).fc.weight)
    assert read_record(run).results.parameters == sum(each.numel() for each in net.parameters())


def test_another_number_of_classes_keeps_the_new_head_and_says_so(run: Path) -> None:
    net = build_seeded(TINY, 7, 9)
    assert load_pretrained(net, "first", TINY, Workspace().models, run.parent) == ["fc.bias", "fc.weight"]


@pytest.mark.parametrize(("source", "says"), [("first", "do not fit"), ("nothing-here", "nothing-here")])
def test_weights_of_another_family_and_a_checkpoint_that_is_not_there_are_refused(
    run: Path, source: str, says: str
) -> None:
    spec = MODELS["torchvision_resnet18"]
    with pytest.raises((UsageError, StoreError), match=says):
        load_pretrained(build_seeded(spec, 10, 0), source, spec, Workspace().models, run.parent)


def test_a_long_training_says_what_would_be_shorter() -> None:
    long, short = Listener(), Listener()
    slow = replace(QUICK, epochs=1_000_000)
    say_how_long(3600.0, 50_000, slow, CPU, long)
    say_how_long(3.0, 64, QUICK, CPU, short)
    assert any("shorter: --limit" in line for line in long.said)
    assert long.said[-1].startswith("--recipe cpu learns more than")
    assert len(short.said) == 1


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (75, "75 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# --- whitening ----------------------------------------------------------------------------------------------


class Stem(nn.Module):
    """One convolution of the image."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, filters, 3, padding=1, bias=False)


def smooth_pictures(count: int = 64) -> Tensor:
    """Smooth ones, as photographs are: few patterns explain most of a patch."""
    small = torch.rand(count, 3, 8, 8, generator=seeded(1)) * 255
    large = nn.functional.interpolate(small, size=(32, 32), mode="bicubic").clamp(0, 255)
    return (large + 4 * torch.randn(large.shape, generator=seeded(2))).clamp(0, 255).to(torch.uint8)


def patches_by_hand(images: Tensor) -> Tensor:
    """(n, 27) float64: every patch of 3x3 pixels, one after the other."""
    pixels = normalise(images, *STATISTICS, torch.float64)
    return torch.stack(
        [
            image[:, row : row + 3, column : column + 3].flatten()
            for image in pixels
            for row in range(30)
            for column in range(30)
        ]
    )


def whitened(filters: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """The weights of a stem before and after."""
    torch.manual_seed(0)
    model = Stem(filters)
    before = model.conv.weight.detach().clone()
    whiten_stem(model, images, STATISTICS)
    return before, model.conv.weight.detach()


def test_responses_to_patches_are_uncorrelated_and_of_size_one_where_there_is_more_than_noise() -> None:
    images = smooth_pictures(16)
    patches = patches_by_hand(images)
    filters = whitened(64, images)[1][:27].flatten(1).double()
    sizes = torch.linalg.eigvalsh(patches.T @ patches / len(patches)).flip(0)
    planted = filters * (sizes + 5e-4).sqrt()[:, None]  # eigenvectors that nobody divided by the root
    moments, wrong = ((patches @ each.T).T @ (patches @ each.T) / len(patches) for each in (filters, planted))
    assert torch.allclose(moments, torch.diag(sizes / (sizes + 5e-4)), atol=1e-3)
    assert [torch.allclose(each, torch.eye(27).double(), atol=0.2) for each in (moments, wrong)] == [True, False]


@pytest.mark.parametrize(("filters", "kept"), [(64, 27), (54, 27), (16, 8), (9, 4), (1, 0)])
def test_the_largest_patterns_come_first_with_both_signs_and_filters_beyond_stay(filters: int, kept: int) -> None:
    before, after = whitened(filters, smooth_pictures(8))
    _, all_of_them = whitened(64, smooth_pictures(8))
    assert torch.equal(after, torch.cat([all_of_them[:kept], -all_of_them[:kept], before[2 * kept :]]))
    norms = all_of_them[:27].flatten(1).norm(dim=1)  # 1 / sqrt(l), so it grows as l falls
    assert (norms.diff() > -1e-4).all()


def test_patches_are_of_all_classes_of_a_data_set_that_is_sorted_by_class() -> None:
    images = smooth_pictures(8)[:, :, :4, :4].repeat(PATCH_IMAGES // 4, 1, 1, 1)
    images[:PATCH_IMAGES] = 0  # the first class is black
    black, found, every = (whitened(54, each)[1] for each in (images[:PATCH_IMAGES], images, images[::2]))
    assert torch.equal(found, every) and not torch.allclose(found, black)


@pytest.mark.parametrize("name", MODELS)
def test_the_real_models_can_be_whitened_and_keep_their_keys_and_all_other_weights(name: str) -> None:
    model = build_seeded(MODELS[name], 4, 0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    whiten_stem(model, smooth_pictures(4), STATISTICS)
    assert list(model.state_dict()) == list(before)
    changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
    assert changed == ["conv1.weight"]
    assert all(each.requires_grad for each in model.parameters())


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(3, 4),
        nn.Conv2d(1, 8, 3),
        nn.Conv2d(3, 9, 3, groups=3),
        nn.Sequential(nn.Conv2d(12, 8, 3), nn.Conv2d(3, 8, 3)),
    ],
    ids=["no convolution", "another image", "groups", "not the first"],
)
def test_a_model_that_does_not_begin_with_a_convolution_of_the_image_is_refused(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="cannot be whitened") as error:
        whiten_stem(model, smooth_pictures(2), STATISTICS)
    assert error.value.try_ == "--no-whiten"


# --- residual branches --------------------------------------------------------------------------------------


def blocks_of(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """The residual blocks of the three code bases, each with its projection if it has one."""
    for name in ("layer1", "layer2", "layer3", "layer4"):
        for block in getattr(model, name):
            yield block, getattr(block, "shortcut", None) or getattr(block, "downsample", None)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_every_block_of_the_real_models_starts_as_its_shortcut(name: str, training: bool) -> None:
    model = build_seeded(MODELS[name], 4, 0).train(training)
    blocks = list(blocks_of(model))
    assert len(blocks) == 8
    x = torch.randn(2, 64, 8, 8, generator=seeded()).relu()
    with torch.no_grad():
        assert not torch.equal(blocks[0][0](x), x)
        zero_residuals(model)
        for block, projection in blocks:
            wanted = (x if projection is None else projection(x)).relu()
            x = block(x)
            assert torch.equal(x, wanted)


def test_of_three_norms_the_last_is_the_one() -> None:
    from torchvision.models.resnet import Bottleneck

    block = Bottleneck(16, 4)
    zero_residuals(nn.Sequential(block))
    assert not block.bn3.weight.any() and block.bn1.weight.all() and block.bn2.weight.all()


def test_a_model_without_residual_blocks_is_refused() -> None:
    with pytest.raises(UsageError, match="no residual block") as error:
        zero_residuals(TinyNet(4))
    assert error.value.try_ == "--no-zero-init"


def test_a_recipe_that_asks_for_nothing_changes_no_weight() -> None:
    for recipe, changed in ((QUICK, []), (BUSY, ["layer3.0.weight", "layer4.3.bn2.weight"])):
        before, model = build_seeded(RESIDUAL, 4, 0).state_dict(), build_seeded(RESIDUAL, 4, 0)
        initialise(model, recipe, images_of(torch.arange(4), 0), STATISTICS)
        assert [key for key, value in model.named_parameters() if not torch.equal(value, before[key])] == changed


def test_patches_of_large_images_are_taken_from_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 224x224 pixels the patches of 5,000 images would take 27 GB."""
    taken: list[int] = []
    monkeypatch.setattr("bench.training.init.PATCH_VALUES", 3 * 64 * 64 * 9 * 6)
    monkeypatch.setattr("bench.training.init.normalise", lambda images, *_: taken.append(len(images)) or images.float())
    for edge in (64, 32):
        whiten_stem(nn.Sequential(nn.Conv2d(3, 54, 3)), torch.randint(0, 255, (60, 3, edge, edge)), ((0.5,) * 3,) * 2)
    assert taken == [6, 20]

"""Models by a function, a class or a library's name: built, looked at, and refused with the reason."""

import re
from pathlib import Path

import pytest
import torch
from foreign_nets import Fixed, Two

from bench.cli.options import files_named
from bench.contracts import ModelSpec
from bench.errors import BenchError, ContractError, MissingError, UsageError
from bench.registry.foreign_models import ForeignBuild
from bench.registry.layer_shapes import default_layers, grids_of, shapes_of, why_no_grid
from bench.registry.layouts import Layout
from bench.registry.model_names import parse_model, with_options
from bench.registry.registry import Registry, discover
from bench.request import DemoRequest, LrFindRequest, TimeRequest

FILE = str(Path(__file__).with_name("foreign_nets.py"))


@pytest.fixture(scope="module")
def models() -> Registry[ModelSpec]:
    return discover("model", ModelSpec)


# --- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "base", "size", "stem"),
    [
        ("timm:resnet34@cifar@64", "timm:resnet34", 64, "cifar"),
        ("cifar_resnet18", "cifar_resnet18", None, ""),
        ("cifar_resnet18@48", "cifar_resnet18", 48, ""),
        ("/of@me/net.py:build@28", "/of@me/net.py:build", 28, ""),
    ],
)
def test_a_name_holds_the_size_and_the_stem_and_reads_back(name: str, base: str, size: int | None, stem: str) -> None:
    found = parse_model(name)
    assert (found.base, found.size, found.stem, parse_model(found.whole)) == (base, size, stem, found)
    assert with_options(base, size=size, stem=stem or None) == found.whole


@pytest.mark.parametrize("name", ["net@x", "net@64@64", "net@2", "net@99999", "net@cifar@cifar", "net@"])
def test_a_name_with_something_else_behind_an_at_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"neither a size nor a stem|pixels"):
        parse_model(name)


@pytest.mark.parametrize(
    ("name", "size", "stem", "words"),
    [("net@64", 32, None, "which says another"), ("net", None, "small", "no stem 'small'")],
)
def test_options_that_contradict_the_name_are_refused(
    name: str, size: int | None, stem: str | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        with_options(name, size=size, stem=stem)


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attribute", "classes"), [("Two", 7), ("build", 7), ("SPEC", 7), ("without_arguments", 10)])
def test_a_class_a_function_and_a_spec_build_the_same_kind_of_model(
    models: Registry[ModelSpec], attribute: str, classes: int
) -> None:
    spec = models[f"{FILE}:{attribute}"]
    model = spec.build(7)
    assert (type(model).__name__, model(torch.zeros(2, 3, 32, 32)).shape) == ("Two", (2, classes))
    assert spec.layers == (("b",) if attribute == "SPEC" else ("a", "b"))


REFUSED = {
    "NUMBER": "is of type int, not ModelSpec, a module class, or a function",
    "nn": "is of type module",
    "BUILT": "exists already",
    "of_two": "needs width, depth, and bench knows only the number of classes",
    "of_nothing": "builds a str, not a torch.nn.Module",
    "raising": "does not build: RuntimeError: out of order",
    "pairs": r"gives \(1, 10, 30, 30\), not logits \(N, K\)",
    "bulid": "has no 'bulid'; did you mean 'build'",
    "build@cifar": "--stem cifar is for ResNets",
    "Fixed": r"cannot take one image \(3, 32, 32\)",
}


@pytest.mark.parametrize("attribute", REFUSED)
def test_what_is_no_model_is_refused_with_the_reason(models: Registry[ModelSpec], attribute: str) -> None:
    with pytest.raises(BenchError, match=REFUSED[attribute]) as error:
        models[f"{FILE}:{attribute}"]
    assert error.value.exit_code in (2, 4) and error.value.try_


def test_a_model_for_grey_images_gets_the_mean_of_the_colours(models: Registry[ModelSpec]) -> None:
    spec = models[f"{FILE}:Fixed@28"]
    assert (spec.input_size, spec.layers) == (28, ("conv",))
    model = spec.build(5).eval()
    images, plain = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0)), Fixed(5).eval()
    plain.load_state_dict(model.state_dict())
    by_hand = torch.stack([sum(image) / 3 for image in images])[:, None]
    assert torch.allclose(model(images), plain(by_hand), atol=1e-6)
    assert ForeignBuild(Two, "x", 20)(3)._forward_pre_hooks == {}


def test_looking_at_a_model_leaves_the_global_generator_where_it_was(models: Registry[ModelSpec]) -> None:
    before = torch.random.get_rng_state()
    models[f"{Path(__file__).parents[1]}/examples/my_model.py:TinyNet"]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_files_that_a_command_runs_are_named_once() -> None:
    asked = TimeRequest(["a/n.py:X", "timm:resnet18", "a/n.py:Y"], explainer="e.py:Z", run="r.py:Q", baseline="b.py:W")
    assert files_named(asked) == ["a/n.py", "e.py"]
    assert (files_named(LrFindRequest("a/n.py:X")), files_named(DemoRequest())) == (["a/n.py"], [])


# --- grids ---------------------------------------------------------------------------------------------------


def test_shapes_are_those_of_hooks_and_the_model_is_left_as_found() -> None:
    net = Two(4).train()
    net.b.eval()
    shapes, answer = shapes_of(net, 20)
    assert shapes["a"] == shapes["a.0"] == (8, 10, 10)
    assert (shapes["b"], shapes["head"], tuple(answer.shape)) == ((16, 5, 5), (4,), (1, 4))
    assert list(grids_of(net, 20)) == ["a.0", "a.1", "a", "b.0", "b.1", "b"]
    assert net.training and net.a.training and not net.b.training
    assert not any(module._forward_hooks for module in net.modules())


def test_a_model_that_cannot_take_the_image_says_so_and_is_left_as_found() -> None:
    net = Fixed(3).train()
    with pytest.raises(ContractError, match=r"cannot take one image \(3, 20, 20\)"):
        shapes_of(net, 20)
    assert net.training and not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("shapes", "layers"),
    [
        ({"a.0": (8, 16, 16), "a": (8, 16, 16), "b": (8, 4, 4)}, ("a", "b")),
        ({"s.0": (8, 16, 16), "s.1": (8, 16, 16), "s.1.x": (8, 16, 16)}, ("s.1",)),  # outermost, then last
        ({"a": (8, 2, 2), "up": (8, 7, 7)}, ("a",)),  # a pooling layer that enlarges
        ({"one": (9, 1, 1)}, ()),
    ],
)
def test_default_layers_are_one_of_each_grid_size(
    shapes: dict[str, tuple[int, int, int]], layers: tuple[str, ...]
) -> None:
    assert default_layers(layouts(shapes), 32) == layers


def layouts(shapes: dict[str, tuple[int, int, int]]) -> dict[str, Layout]:
    return {name: Layout((0, 1, 2, 3), shape[0], shape[1:]) for name, shape in shapes.items()}


def test_layers_a_library_prefers_go_first_as_far_as_they_have_a_grid() -> None:
    shapes = {"stem": (8, 16, 16), "x.blocks": (8, 16, 16), "y": (8, 8, 8), "z": (8, 1, 1)}
    known = layouts(shapes)
    found = [default_layers(known, 32, preferred=preferred) for preferred in (("x.blocks", "y", "z"), ("gone",))]
    assert found == [("x.blocks", "y"), ("stem", "y")]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((), "does not run"),
        ((5, 64), r"gives \(N, 5, 64\): no rows and columns"),
        ((3, 17, 17), r"gives \(N, 3, 17, 17\): no rows and columns .* attention"),
        ((8, 1, 1), "one position"),
        ((10,), r"gives \(N, 10\)"),
    ],
)
def test_a_layer_without_a_grid_is_told_why(shape: tuple[int, ...], words: str) -> None:
    assert re.search(words, why_no_grid("x", shape))


# --- libraries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("timm:resnet18@cifar", ("layer1", "layer2", "layer3", "layer4")),
        ("timm:mobilenetv3_small_050@64", ("bn1", "blocks.0", "blocks.1", "blocks.3", "blocks.5")),
        ("timm:vit_tiny_patch16_224@64", ("blocks.11.norm1",)),
        ("torchvision:squeezenet1_1@64", ("features.1", "features.4", "features.7", "features")),
    ],
)
def test_a_library_model_is_built_for_its_size_with_layers_that_have_grids(
    models: Registry[ModelSpec], name: str, layers: tuple[str, ...]
) -> None:
    spec = models[name]
    net = spec.build(7)
    assert spec.layers == layers and shapes_of(net, spec.input_size)[1].shape == (1, 7)
    assert set(layers) <= grids_of(net, spec.input_size).keys()


def test_the_cifar_stem_keeps_the_grid_and_the_plain_one_does_not(models: Registry[ModelSpec]) -> None:
    small, plain = (shapes_of(models[name].build(10), 32)[0] for name in ("timm:resnet18@cifar", "timm:resnet18"))
    assert (small["layer1"], small["layer4"]) == ((64, 32, 32), (512, 4, 4))
    assert plain["layer4"] == (512, 1, 1)


def test_the_cifar_stem_of_any_resnet_is_that_of_the_built_in_one(models: Registry[ModelSpec]) -> None:
    ours, theirs = (
        {key: value.shape for key, value in models[name].build(10).state_dict().items()}
        for name in ("torchvision_resnet18", "torchvision:resnet18@cifar")
    )
    assert theirs == ours


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:resnet4", "timm has no model 'resnet4'; did you mean"),
        ("torchvision:resnet19", "torchvision has no classifier 'resnet19'; did you mean"),
        ("torchvision:fcn_resnet50", "torchvision has no classifier"),
        ("timm:mobilenetv3_small_050@cifar", "no conv1 and maxpool"),
        ("torch:resnet18", "no model named 'torch:resnet18'"),
    ],
)
def test_a_library_name_that_cannot_be_meant_is_refused(models: Registry[ModelSpec], name: str, words: str) -> None:
    with pytest.raises((UsageError, MissingError), match=words):
        models[name].build(10)

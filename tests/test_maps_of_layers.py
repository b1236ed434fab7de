"""Layers that give tokens, or have the channels innermost: maps on the right grid, whoever makes them."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from small_nets import ConvNext, Mixer, Pairs, SequenceFirst, Swin, ViT
from torch import Tensor, nn

from bench.contracts import ExplainerSpec, ModelSpec, Silence
from bench.errors import MissingError
from bench.explaining.guard import guarded
from bench.explaining.plan import say_dead
from bench.nets.trained import Trained
from bench.nets.weights import build_seeded
from bench.registry.foreign_models import ForeignBuild
from bench.registry.layer_shapes import grids_of
from bench.registry.layouts import Layout, Shows, show_maps
from bench.registry.libraries import sized
from bench.registry.registry import Registry, discover

Turn = Callable[[Tensor], Tensor]
TARGETS = torch.tensor([[1, 2], [3, 4]])
GRADCAMS = ("gradcam", "captum", "reference")


@pytest.fixture(scope="module")
def explainers() -> Registry[ExplainerSpec]:
    return discover("explainer", ExplainerSpec)


@pytest.fixture(scope="module")
def models() -> Registry[ModelSpec]:
    return discover("model", ModelSpec)


def spec_of(build: Callable[[int], nn.Module]) -> ModelSpec:
    """As bench takes a file's."""
    return sized(ModelSpec("small", build, "here", layers=()), 32)


def pictures(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def built(spec: ModelSpec) -> nn.Module:
    """In eval mode; what begins at zero, such as the head of a mixer, is drawn."""
    net, drawing = build_seeded(spec, 5, 0).eval(), torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.detach().unique().numel() == 1:
            parameter.data += 0.1 * torch.rand(parameter.shape, generator=drawing)
    return net


def as_its_author_built_it(spec: ModelSpec) -> nn.Module:
    assert isinstance(spec.build, ForeignBuild)
    return built(replace(spec, build=replace(spec.build, layouts={})))


def plain_gradcam(spec: ModelSpec, layer: str, turn: Turn, images: Tensor, targets: Tensor = TARGETS) -> Tensor:
    """Grad-CAM by hand, in float64, on the net as its author built it, whose own output `turn` makes a map of."""
    net = as_its_author_built_it(spec).double()
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        kept.append(first)
        return (first.clone(), *output[1:]) if isinstance(output, tuple) else first.clone()

    net.get_submodule(layer).register_forward_hook(keep)
    logits = net(images)
    maps = []
    for column in targets.unbind(1):
        (slope,) = torch.autograd.grad(logits.gather(1, column[:, None]).sum(), kept[-1], retain_graph=True)
        maps.append((turn(slope).mean(dim=(2, 3), keepdim=True) * turn(kept[-1])).sum(1).detach())
    return torch.stack(maps, dim=1)


def tokens(first: int, last: int, edge: int = 4) -> Turn:
    """(N, T, C), of which these are patches."""
    return lambda values: values[:, first:last].transpose(1, 2).reshape(len(values), -1, edge, edge)


def channels_last(values: Tensor) -> Tensor:
    return values.permute(0, 3, 1, 2)


def sequence_first(values: Tensor) -> Tensor:
    return values[1:].permute(1, 2, 0).reshape(values.shape[1], -1, 4, 4)


# Of each net the layers that CAM methods take, one layer of another kind, and how its own output becomes a map.
HAND_WRITTEN: dict[str, tuple[Callable[[int], nn.Module], tuple[str, ...], str, Turn]] = {
    "class token": (ViT, ("blocks.1.norm1",), "blocks.1.norm1", tokens(1, 17)),
    "no class token": (lambda k: ViT(k, extra=0), ("norm",), "blocks.1", tokens(0, 16)),
    "two more tokens": (lambda k: ViT(k, extra=2), ("blocks.1.norm1",), "blocks.0", tokens(2, 18)),
    "tokens at the end": (lambda k: ViT(k, extra=2, at_end=True), ("blocks.1.norm1",), "blocks.0", tokens(0, 16)),
    "swin": (Swin, ("stages.0", "stages"), "stages.0", channels_last),
    "convnext": (ConvNext, ("stages.0", "stages.1"), "stages.1.1.norm", channels_last),
    "mixer": (Mixer, ("norms.3",), "norms.3", tokens(0, 16)),
    "sequence first": (SequenceFirst, ("encoder.layers.1",), "encoder.layers.1", sequence_first),
    "pairs": (Pairs, ("second",), "first", tokens(0, 16)),
}


@pytest.mark.parametrize("kind", HAND_WRITTEN)
def test_three_libraries_give_the_gradcam_of_a_net_as_its_author_built_it(
    kind: str, explainers: Registry[ExplainerSpec]
) -> None:
    build, layers, layer, turn = HAND_WRITTEN[kind]
    spec = spec_of(build)
    net = built(spec).double()
    images = pictures(2, 32).double()
    due = plain_gradcam(spec, layer, turn, images)
    assert spec.layers == layers
    assert due.abs().amax(dim=(2, 3)).min() > 0, "nothing to compare"
    for name in GRADCAMS:
        found = guarded(explainers[name], net, (layer, layers[-1]), images, TARGETS)
        assert found[layer].shape == due.shape, name
        assert float((found[layer] - due).abs().max()) <= 1e-9 * float(due.abs().max()), name
        assert found[layers[-1]].abs().amax(dim=(2, 3)).min() > 0


@pytest.mark.parametrize("kind", HAND_WRITTEN)
def test_a_net_whose_layers_show_maps_gives_the_same_bits_hooked_or_not(kind: str) -> None:
    spec = spec_of(HAND_WRITTEN[kind][0])
    plain, net = as_its_author_built_it(spec), built(spec)
    due, images = plain(pictures(3, 32)), pictures(3, 32)
    shown = [name for name, module in net.named_modules() if isinstance(module, Shows)]
    assert shown and torch.equal(net(images), due)
    for name in shown:
        net.get_submodule(name).register_forward_hook(lambda module, inputs, output: output.clone())
    assert torch.equal(net(images), due)
    assert net.state_dict().keys() == plain.state_dict().keys()
    assert [type(each).__name__ for each in net.modules()] == [type(each).__name__ for each in plain.modules()]


@pytest.mark.parametrize(
    "name", ["gradcam++", "hirescam", "xgradcam", "layercam", "eigencam", "scorecam", "ablationcam"]
)
@pytest.mark.parametrize(("build", "layer"), [(ViT, "blocks.1.norm1"), (Swin, "stages.0")])
def test_every_method_answers_on_the_grid_of_tokens_and_of_channels_last(
    name: str, build: Callable[[int], nn.Module], layer: str, explainers: Registry[ExplainerSpec]
) -> None:
    net = built(spec_of(build))
    maps = guarded(explainers[name], net, (layer,), pictures(2, 32), TARGETS)[layer]
    assert tuple(maps.shape[2:]) == grids_of(net, 32)[layer][1:]
    assert maps.isfinite().all() and float(maps.abs().max()) > 0


def test_ablating_a_channel_of_tokens_leaves_the_class_token_alone(explainers: Registry[ExplainerSpec]) -> None:
    spec, layer = spec_of(ViT), "blocks.1.norm1"
    net, images = built(spec), pictures(2, 32)
    found = guarded(explainers["ablationcam"], net, (layer,), images, TARGETS)[layer]
    plain = as_its_author_built_it(spec)
    channel, kept = -1, []

    def ablate(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        cut = output.clone()
        if channel >= 0:
            cut[:, 1:, channel] = 0
        return cut

    plain.get_submodule(layer).register_forward_hook(ablate)
    with torch.no_grad():
        whole, weights = plain(images).gather(1, TARGETS), []
        for channel in range(16):  # noqa: B007 (`ablate` reads it)
            weights.append((whole - plain(images).gather(1, TARGETS)) / whole.abs())
        due = torch.einsum("cnt,nchw->nthw", torch.stack(weights), tokens(1, 17)(kept[0]))
    assert float((found - due).abs().max()) <= 1e-5 * float(due.abs().max())


def test_attention_and_windows_are_no_maps() -> None:
    """Heads x tokens x tokens is square, and 4 tokens of a window are 2x2."""
    for build, layers in (
        (ViT, ("blocks.0.attn.attend",)),
        (Swin, ("stages.0.block.attn.attend", "stages.0.block.norm1")),
    ):
        net = built(spec_of(build))
        assert not set(layers) & grids_of(net, 32).keys()
        assert set(layers) <= dict(net.named_modules()).keys()


class Pooled(nn.Module):
    """Pooled twice: by PyTorch's attention with one query, and by a softmax of scores over tokens."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16)
        self.query, self.attend = nn.Parameter(torch.randn(1, 1, 16)), nn.MultiheadAttention(16, 2, batch_first=True)
        self.score, self.share, self.head = nn.Linear(16, 1), nn.Softmax(1), nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.norm(self.stem(images).flatten(2).transpose(1, 2))
        found, _ = self.attend(self.query.expand(len(images), -1, -1), tokens, tokens)
        pooled: Tensor = self.head(found[:, 0] + (self.share(self.score(tokens)) * tokens).sum(1))
        return pooled


def test_how_much_one_query_looks_at_each_token_is_no_map() -> None:
    assert list(grids_of(built(spec_of(Pooled)), 32)) == ["stem", "norm", "score"]


def test_of_a_layer_whose_patches_nobody_reads_it_is_said_and_of_others_not() -> None:
    spec, said = spec_of(ViT), Told()
    record = SimpleNamespace(size=32, model="vit")
    trained = cast("Trained", SimpleNamespace(model=built(spec), spec=spec, record=record))
    before = [parameter.clone() for parameter in trained.model.parameters()]
    say_dead(trained, ["embed", "blocks.1.norm1", "input"], said)
    assert said.warned == []
    say_dead(trained, ["blocks.0", "blocks.1", "norm"], said)
    assert len(said.warned) == 1 and "at blocks.1 and norm, because" in said.warned[0]
    assert "but not at blocks.1.norm1" in said.warned[0]
    assert all(map(torch.equal, before, trained.model.parameters()))


class Told(Silence):
    """What was warned of."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def warn(self, text: str) -> None:
        self.warned.append(text)


class Dense(nn.Module):
    """A grid flattened into a linear layer: one size of picture, and 20 pixels are too few for its pools."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(4), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2))
        self.head = nn.Linear(4 * 2 * 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


@pytest.mark.parametrize(("build", "size", "least"), [(Dense, 20, 26), (ViT, 16, 32)])
def test_a_picture_that_is_too_small_is_answered_with_the_fewest_pixels_that_work(
    build: Callable[[int], nn.Module], size: int, least: int
) -> None:
    with pytest.raises(MissingError, match=f"cannot take one image .3, {size}, {size}.") as error:
        sized(ModelSpec("small", build, "here", layers=()), size)
    assert f"--image-size {least}," in error.value.try_
    assert sized(ModelSpec("small", build, "here", layers=()), least).input_size == least


def test_a_layer_that_runs_with_another_shape_or_has_a_hook_of_its_own_is_left_as_it_is() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.GELU())
    net[0].register_forward_hook(lambda module, inputs, output: output + 1)
    layout = Layout((0, 2, 1), 6, (2, 2))
    show_maps(net, {"0": layout, "1": layout, "gone": layout})
    seen: list[Tensor] = []
    net[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert net(torch.zeros(1, 4, 6)).shape == (1, 4, 6) and net(torch.zeros(1, 5, 6)).shape == (1, 5, 6)
    assert [tuple(each.shape) for each in seen] == [(1, 6, 2, 2), (1, 5, 6)]
    assert not isinstance(net[0], Shows)


# --- the libraries' --------------------------------------------------------------------------------------------

# What is taken by default, with the edges of the grids. Behind layer1 no layer of hrnet has all of the picture: its
# branches go side by side.
ARCHITECTURES = {
    "timm:resnet50": "act1=16 layer1=8 layer2=4 layer3=2",
    "timm:resnext50_32x4d": "act1=16 layer1=8 layer2=4 layer3=2",
    "timm:convnext_tiny": "stages.0=8 stages.1=4 stages.2=2",
    "timm:efficientnet_b0": "blocks.0=16 blocks.1=8 blocks.2=4 blocks.4=2",
    "timm:mobilenetv3_small_100": "bn1=16 blocks.0=8 blocks.1=4 blocks.3=2",
    "timm:regnety_002": "stem=16 s1=8 s2=4 s3=2",
    "timm:densenet121": "features.norm0=16 features.denseblock1=8 features.denseblock2=4 features.denseblock3=2",
    "timm:hrnet_w18_small": "act1=16 layer1=8",
    "timm:vit_tiny_patch16_224": "blocks.11.norm1=2",
    "timm:mvitv2_tiny": "stages.0=8 stages.1=4 stages.2=2",
    "timm:coat_lite_tiny": "serial_blocks1.1=8 serial_blocks2.1=4 serial_blocks3.1=2",
    "timm:levit_128s": "stages.0=2",
    "timm:pit_ti_224": "transformers.0.blocks=3 transformers.1.blocks=2",
    "timm:maxvit_tiny_rw_224": "stem=16 stages.0=8 stages.1=4 stages.2=2",
    "timm:swin_tiny_patch4_window7_224@32": "layers.0=8 layers.1=4 layers.2=2",
    "timm:swin_tiny_patch4_window7_224@224": "layers.0=56 layers.1=28 layers.2=14 layers.3=7",
    "timm:deit_tiny_patch16_224@224": "blocks.11.norm1=14",
    "timm:mixer_s32_224@64": "blocks.7=2",
    "timm:poolformer_s12@64": "stages.0=16 stages.1=8 stages.2=4 stages.3=2",
    "timm:pvt_v2_b0@64": "stages.0=16 stages.1=8 stages.2=4 stages.3=2",
    "timm:davit_tiny@64": "stages.0=16 stages.1=8 stages.2=4 stages.3=2",
    "timm:edgenext_xx_small@64": "stages.0=16 stages.1=8 stages.2=4 stages.3=2",
    "timm:ghostnet_100@64": "conv_stem=32 blocks.1=16 blocks.3=8 blocks.5=4 blocks.7=2",
    "timm:mobilenetv2_100@64": "blocks.0=32 blocks.1=16 blocks.2=8 blocks.4=4 blocks.6=2",
    "timm:xception41@64": "stem=32 blocks.0=16 blocks.1=8 blocks.10=4 blocks.12=2",
    "timm:nfnet_f0@64": "stem.conv3=32 stages.0=16 stages.1=8 stages.2=4 final_conv=2",
    "torchvision:vgg11_bn": "features.2=32 features.6=16 features.13=8 features.20=4 features.27=2",
    "torchvision:squeezenet1_1": "features.1=15 features.4=7 features.7=3",
    "torchvision:googlenet": "conv1=16 conv3=8 inception3b=4 inception4e=2",
    "torchvision:alexnet@64": "features.1=15 features.4=7 features.11=3",
    "torchvision:shufflenet_v2_x0_5@64": "conv1=32 maxpool=16 stage2=8 stage3=4 conv5=2",
    "torchvision:densenet121@64": (
        "features.relu0=32 features.denseblock1=16 features.denseblock2=8 features.denseblock3=4 features=2"
    ),
    "torchvision:efficientnet_v2_s@64": "features.1=32 features.2=16 features.3=8 features.5=4 features=2",
    "torchvision:swin_t@64": "features.1=16 features.3=8 features.5=4 permute=2",
    "torchvision:inception_v3@96": (
        "Conv2d_1a_3x3=47 Conv2d_2b_3x3=45 Conv2d_3b_1x1=22 Conv2d_4a_3x3=20 Mixed_5d=9 Mixed_6e=4"
    ),
    "torchvision:maxvit_t@224": "stem=112 blocks.0=56 blocks.1=28 blocks.2=14 blocks.3=7",
}


def by_edge(edge: int) -> Turn:
    """(N, C, edge, edge), (N, edge, edge, C) or tokens of which the last are patches."""

    def turn(values: Tensor) -> Tensor:
        if values.ndim == 3:
            return values[:, -(edge**2) :].transpose(1, 2).unflatten(2, (edge, edge))
        return values if values.shape[2:] == (edge, edge) else values.permute(0, 3, 1, 2)

    return turn


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_of_every_architecture_three_libraries_give_the_gradcam_at_its_default_layers(
    name: str, models: Registry[ModelSpec], explainers: Registry[ExplainerSpec]
) -> None:
    spec = models[name]
    edges = {layer: int(edge) for layer, edge in (each.split("=") for each in ARCHITECTURES[name].split())}
    assert list(spec.layers) == list(edges)
    net, images = built(spec).double(), pictures(1 if spec.input_size > 100 else 2, spec.input_size).double()
    with torch.no_grad():
        targets = net(images).topk(2).indices  # a net that ends in a ReLU has no gradient where a logit is 0
    found = {each: guarded(explainers[each], net, spec.layers, images, targets) for each in GRADCAMS}
    alive = []
    for layer, edge in edges.items():
        due = plain_gradcam(spec, layer, by_edge(edge), images, targets)
        assert due.shape == (len(images), 2, edge, edge)
        alive += (due.abs().amax(dim=(2, 3)) > 0).flatten().tolist()
        for each in GRADCAMS:
            assert float((found[each][layer] - due).abs().max()) <= 1e-6 * float(due.abs().max()), (layer, each)
    assert sum(alive) >= 0.95 * len(alive)

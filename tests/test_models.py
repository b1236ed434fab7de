"""Everything registered as a model keeps the contract; the built-in three are one net in three notations."""

import pytest
import torch
from pictures import SOURCE, pictures
from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import MissingError
from bench.nets.weights import build_seeded, convert, load_weights
from bench.registry.layer_shapes import shapes_of
from bench.registry.registry import discover

PARAMETERS = 11_173_962
EDGES = {"layer1": 32, "layer2": 16, "layer3": 8, "layer4": 4}
LABELS = torch.tensor([3, 5, 0, 9])
models = discover("model", ModelSpec)


@pytest.mark.parametrize("name", list(models))
def test_a_model_bears_its_name_has_resnet18s_parameters_and_gives_logits_and_maps_of_32_16_8_4_cells(
    name: str,
) -> None:
    spec = models[name]
    assert spec.name == name and spec.source
    shapes, logits = shapes_of(build_seeded(spec, 7, 0), 32)
    assert tuple(logits.shape) == (1, 7)
    assert {layer: shapes[layer][1:] for layer in spec.layers} == {layer: (edge, edge) for layer, edge in EDGES.items()}
    assert sum(parameter.numel() for parameter in spec.build(10).parameters()) == PARAMETERS


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("source", [SOURCE])
def test_same_weights_give_the_same_bits_in_all_models(source: str, layout: torch.memory_format) -> None:
    first = models["cifar_resnet18"]
    model = build_seeded(first, 10, 3)
    with torch.no_grad():
        model(pictures(16))  # statistics that differ by channel
    images = pictures(len(LABELS)).to(memory_format=layout)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    expected = results_of(model.to(memory_format=layout), images)
    for name in models:
        other = models[name].build(10)
        load_weights(other, convert(state, first, models[name]))
        found = results_of(other.to(memory_format=layout), images)
        found = {"logits": found.pop("logits"), **convert(found, models[name], first)}
        unequal = [key for key, value in expected.items() if not torch.equal(found[key], value)]
        assert (set(found), unequal) == (set(expected), []), name


def results_of(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Logits in eval mode, and the loss's gradient of every parameter in training mode."""
    with torch.no_grad():
        logits = model.eval()(images)
    model.train().zero_grad()
    nn.functional.cross_entropy(model(images), LABELS).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"logits": logits, **{name: grad for name, grad in gradients.items() if grad is not None}}


def test_hand_written_net_uses_every_relu_once_and_not_in_place() -> None:
    model = models["cifar_resnet18"].build(10).eval()
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    runs: list[nn.Module] = []
    for relu in relus:
        relu.register_forward_hook(lambda module, inputs, output: runs.append(module))
    with torch.no_grad():
        model(pictures(1))
    assert (len(relus), sorted(map(id, runs))) == (17, sorted(map(id, relus)))
    assert not any(relu.inplace for relu in relus)


def test_timm_starts_no_norm_at_zero() -> None:
    model = build_seeded(models["timm_resnet18"], 10, 0)
    assert all((module.weight == 1).all() for module in model.modules() if isinstance(module, nn.BatchNorm2d))


def test_imagenet_weights_fit_all_but_stem_and_head(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torchvision

    stock = torchvision.models.resnet18(weights=None)
    weights = torchvision.models.ResNet18_Weights
    monkeypatch.setattr(weights, "get_state_dict", lambda *args, **options: stock.state_dict())
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: stock)
    heads = {"cifar_resnet18": "linear", "timm_resnet18": "fc", "torchvision_resnet18": "fc"}
    states = {name: models[name].imagenet() for name in models}
    monkeypatch.undo()
    for name, state in states.items():
        model = models[name].build(10)
        left = model.load_state_dict(state, strict=False).missing_keys
        assert set(left) == {"conv1.weight", f"{heads[name]}.weight", f"{heads[name]}.bias"}
        assert torch.equal(model.state_dict()["layer4.1.bn2.weight"], stock.layer4[1].bn2.weight)


@pytest.mark.parametrize("name", list(models))
def test_unreachable_imagenet_weights_are_an_error_with_a_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torchvision

    def refuse(*args: object, **options: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", refuse)
    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(MissingError, match=r"cannot be fetched \(ConnectionError: no route to host\)") as caught:
        models[name].imagenet()
    assert caught.value.exit_code == 4 and caught.value.try_

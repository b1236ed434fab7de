"""ROAD's filling, maximal sensitivity, sparseness and fills, each against a slow version or the library that has it."""

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from scipy.ndimage import gaussian_filter
from tiny import RESIDUAL
from torch import Tensor, nn

from bench.contracts import ExplainerSpec
from bench.nets.weights import build_seeded
from bench.scoring import imputing
from bench.scoring.fills import BLUR_SHARE, black, blurred, others_of
from bench.scoring.imputing import imputed
from bench.scoring.layer_scores import gini
from bench.scoring.sensitivity import RADIUS, SAMPLES, SENSITIVITY_SEED, maximal_sensitivity


def images(count: int = 2, edge: int = 16) -> Tensor:
    return torch.randn(count, 3, edge, edge, generator=torch.Generator().manual_seed(1))


def masks(edge: int = 16) -> np.ndarray:
    """A patch in a corner, and most of an image."""
    found = np.zeros((2, edge, edge), dtype=bool)
    found[0, : edge // 4, : edge // 2] = True
    found[1] = np.random.default_rng(0).random((edge, edge)) < 0.8
    return found


SEEDS = np.array([[1, 2], [3, 4]])


def test_imputed_pixels_are_pytorch_grad_cams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imputing, "NOISE", 0.0)
    found = imputed(images(), masks(), SEEDS)
    for one, image, mask in zip(found, images(), masks(), strict=True):
        library = NoisyLinearImputer(noise=0.0)(image, torch.from_numpy(~mask).float())
        assert torch.allclose(one, library, atol=1e-5)


def test_each_covered_pixel_is_the_weighted_mean_of_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imputing, "NOISE", 0.0)
    found, hidden = imputed(images(), masks(), SEEDS).double().numpy(), masks()
    for n, i, j in np.argwhere(hidden):
        near = [(a, b) for a in (i - 1, i, i + 1) for b in (j - 1, j, j + 1) if (a, b) != (i, j)]
        inside = [(a, b) for a, b in near if 0 <= a < 16 and 0 <= b < 16]
        weights = [1 / 6 if a == i or b == j else 1 / 12 for a, b in inside]
        mean = sum(w * found[n, :, a, b] for w, (a, b) in zip(weights, inside, strict=True)) / sum(weights)
        assert found[n, :, i, j] == pytest.approx(mean, abs=1e-5)


def test_what_is_not_covered_stays_and_the_noise_is_the_images_and_sets_own() -> None:
    found, again = imputed(images(), masks(), SEEDS), imputed(images()[1:], masks()[1:], SEEDS[1:])
    seen = torch.from_numpy(~masks())[:, None].expand_as(found)
    assert torch.equal(found[seen], images()[seen]) and torch.equal(found[1:], again)
    other = imputed(images(), masks(), SEEDS + 1)
    assert 0.005 < (found - other)[~seen].std() < 0.02


def test_large_images_are_filled_at_64_pixels_and_keep_their_own_where_they_are_seen() -> None:
    large, hidden = images(1, 128), np.zeros((1, 128, 128), dtype=bool)
    hidden[:, 32:64, 32:96] = True
    found = imputed(large, hidden, SEEDS[:1])
    assert torch.equal(found[:, :, :32], large[:, :, :32])
    flat = imputed(torch.ones(1, 3, 128, 128), hidden, SEEDS[:1])
    assert (flat - 1).abs().max() < 0.06  # noise alone


# --- maximal sensitivity ------------------------------------------------------------------------------------


def saliency(model: nn.Module, layers: tuple[str, ...], x: Tensor, targets: Tensor) -> dict[str, Tensor]:
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf).gather(1, targets).sum(), leaf)
    return {layer: gradient.sum(dim=1, keepdim=True) for layer in layers}


def blind(model: nn.Module, layers: tuple[str, ...], x: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {layer: torch.arange(64.0).reshape(1, 1, 8, 8).expand(len(x), 1, 8, 8).clone() for layer in layers}


SPEC = ExplainerSpec(
    name="s", explain=saliency, source="tests", backend="torch", cost=lambda layer: 3.0, output="input"
)


def test_maximal_sensitivity_is_captums_for_the_same_moves() -> None:
    net = build_seeded(RESIDUAL, 4, 0).eval().requires_grad_(False)
    x, targets, seeds = images(3, 32), torch.tensor([[0], [1], [2]]), np.array([5, 6, 7])
    found = maximal_sensitivity(SPEC, net, ("input",), images=x, targets=targets, seeds=seeds)["input"]
    draws = [np.random.default_rng([SENSITIVITY_SEED, seed]) for seed in seeds.tolist()]
    moves = [torch.from_numpy(each.uniform(-RADIUS, RADIUS, (SAMPLES, 3, 32, 32))).float() for each in draws]

    def maps(inputs: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        inputs = inputs if isinstance(inputs, Tensor) else inputs[0]
        asked = targets.repeat_interleave(len(inputs) // 3, dim=0)
        return (saliency(net, ("input",), inputs, asked)["input"],)

    slow = sensitivity_max(maps, x, perturb_func=lambda inputs: inputs + torch.cat(moves), n_perturb_samples=SAMPLES)
    assert found == pytest.approx(slow.numpy(), rel=1e-4) and found.min() > 0


def test_a_map_that_looks_at_nothing_does_not_move_and_one_that_is_zero_has_no_figure() -> None:
    net = build_seeded(RESIDUAL, 4, 0).eval()
    asked = {"images": images(2, 32), "targets": torch.zeros(2, 1, dtype=torch.int64), "seeds": np.array([1, 2])}
    still = ExplainerSpec(name="b", explain=blind, source="tests", backend="torch", cost=lambda layer: 1.0)
    assert maximal_sensitivity(still, net, ("layer4",), **asked)["layer4"].tolist() == [0, 0]  # type: ignore[arg-type]


def dice(model: nn.Module, layers: tuple[str, ...], x: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Nothing but what it draws, and a little of the image."""
    return {layer: torch.rand(len(x), 1, 32, 32) + x.mean(dim=1, keepdim=True) / 100 for layer in layers}


def test_what_moves_a_map_is_the_image_and_not_the_dice_of_a_stochastic_explainer() -> None:
    net, x = build_seeded(RESIDUAL, 4, 0).eval(), images(3, 32)
    spec = ExplainerSpec("dice", dice, "tests", "torch", cost=lambda layer: 1.0, output="input", stochastic=True)
    asked = {"images": x, "targets": torch.zeros(3, 1, dtype=torch.int64), "seeds": np.array([1, 2, 3])}
    found = maximal_sensitivity(spec, net, ("input",), **asked)["input"]  # type: ignore[arg-type]
    own, other = (torch.rand(32, 32, generator=torch.Generator().manual_seed(each)) for each in (1, 2))
    assert 0 < found.max() < 0.002 and (own - other).norm() / own.norm() > 0.5  # other dice would be seen


# --- sparseness and fills -----------------------------------------------------------------------------------


def test_sparseness_is_ginis_mean_difference() -> None:
    maps = np.random.default_rng(2).normal(size=(3, 4, 4))
    for value, one in zip(gini(maps), np.abs(maps).reshape(3, -1), strict=True):
        assert value == pytest.approx(np.abs(one[:, None] - one).mean() / (2 * one.mean()))
    assert gini(np.ones((1, 4, 4))) == pytest.approx(0) and gini(-np.eye(16)[:1].reshape(1, 4, 4)) == 1 - 1 / 16
    assert np.isnan(gini(np.array([[[np.nan, 1]], [[0, 0]]]))).all()


def test_the_blur_is_a_gaussian_of_an_eighth_of_the_edge() -> None:
    sigma = BLUR_SHARE * 32
    slow = gaussian_filter(images(2, 32).numpy(), sigma, mode="mirror", axes=(2, 3), radius=8)
    assert blurred(images(2, 32)).numpy() == pytest.approx(slow, abs=1e-5)
    assert blurred(images(1, 4)).shape == (1, 3, 4, 4)


def test_another_image_is_of_neither_class_and_always_the_same() -> None:
    labels, predicted = np.arange(40) % 4, np.roll(np.arange(40) % 4, 1)
    found = others_of(np.arange(40), labels, predicted)
    assert (labels[found] != labels).all() and (labels[found] != predicted).all()
    assert others_of(np.array([7]), labels, predicted) == found[7]
    two = others_of(np.arange(40), labels % 2, 1 - labels % 2)  # of two classes the true one's is all there is
    assert (two % 2 == np.arange(40) % 2).all()


def test_black_is_black_before_images_are_normalised() -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    found = black(images(), (mean, std))
    for channel in range(3):
        assert found[:, channel] * std[channel] + mean[channel] == pytest.approx(torch.zeros(2, 16, 16), abs=1e-6)

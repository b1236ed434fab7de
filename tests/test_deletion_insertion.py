"""Scores by removal, against plain loops and cases solved by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Silence
from bench.memory import Room
from bench.scoring.occluded_answers import answers_to, batch_size, covered
from bench.scoring.patches import area, bits, count_of, every_patch, logit_drops, margin_drops, probabilities, turned


class CellNet(nn.Module):
    """Logits that are weighted sums of the patches' means: what a patch is worth is its weight times its mean."""

    def __init__(self, weights: Tensor, grid: tuple[int, int]) -> None:
        super().__init__()
        self.weights, self.grid = nn.Parameter(weights, requires_grad=False), grid

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, K), weights (K, patches)."""
        means = functional.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), self.grid).flatten(1)
        return means @ self.weights.T + 0.5


ROOM = Room(Silence())
GRID = (4, 4)


def case(images: int = 5) -> tuple[CellNet, Tensor]:
    generator = torch.Generator().manual_seed(0)
    net = CellNet(torch.randn(3, 16, generator=generator), GRID)
    return net, torch.randn(images, 3, 32, 32, generator=generator)


def singles(net: nn.Module, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the whole images and with each patch covered."""
    sets = np.tile(np.concatenate([[np.uint64(0)], bits(np.arange(16))]), len(images))
    rows = np.repeat(np.arange(len(images)), 17)
    logits = np.concatenate(list(answers_to(net, images, rows=rows, sets=sets, grid=GRID, room=ROOM))).reshape(
        -1, 17, 3
    )
    return logits[:, 0], logits[:, 1:]


# --- covering -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(4, 4), (2, 16), (3, 7)])
def test_covering_sets_the_pixels_of_a_patch_to_the_mean_colour_and_no_other(grid: tuple[int, int]) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, *grid, dtype=torch.bool)
    masks[0, 0, 1] = masks[0, 1, 0] = masks[1, -1, -1] = True
    found = covered(images, masks)
    for n, channel, row, column in np.ndindex(2, 3, 32, 32):
        inside = bool(masks[n, row * grid[0] // 32, column * grid[1] // 32])
        assert found[n, channel, row, column] == (0 if inside else images[n, channel, row, column])


def test_answers_are_those_of_single_calls_over_several_batches() -> None:
    net, images = case()
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 5, size=batch_size(torch.device("cpu")) + 7)
    sets = generator.integers(0, 2**16, size=batch_size(torch.device("cpu")) + 7, dtype=np.uint64)
    found = np.concatenate(list(answers_to(net, images, rows=rows, sets=sets, grid=GRID, room=ROOM)))
    assert found.dtype == np.float32
    for row, number, logits in list(zip(rows.tolist(), sets.tolist(), found, strict=True))[::20]:
        image = images[row : row + 1].clone()
        for patch in (each for each in range(16) if number >> each & 1):
            y, x = divmod(patch, 4)
            image[:, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] = 0
        assert logits == pytest.approx(net(image)[0].numpy(), abs=1e-5)


def test_with_everything_covered_only_the_bias_is_left() -> None:
    net, images = case(2)
    sets = np.array([every_patch(16)] * 2)
    (logits,) = answers_to(net, images, rows=np.arange(2), sets=sets, grid=GRID, room=ROOM)
    assert logits == pytest.approx(np.full((2, 3), 0.5))


# --- the ground truth ---------------------------------------------------------------------------------------


def test_drops_of_a_linear_model_are_its_weights_times_the_means() -> None:
    net, images = case()
    classes = np.array([0, 1, 2, 2, 0])
    means = functional.avg_pool2d(images.mean(dim=1), 8).flatten(1)
    drops = logit_drops(*singles(net, images), classes)
    assert drops == pytest.approx((net.weights[classes] * means).numpy(), abs=1e-5)


def test_the_margin_falls_by_what_the_predicted_class_loses_less_what_the_true_one_loses() -> None:
    net, images = case()
    plain, without = singles(net, images)
    predicted, true = np.array([0, 1, 2, 2, 0]), np.array([1, 0, 0, 1, 2])
    found = margin_drops(plain, without, predicted=predicted, true=true)
    for n, patch in np.ndindex(5, 16):
        before, after = (each[predicted[n]] - each[true[n]] for each in (plain[n], without[n, patch]))
        assert found[n, patch] == pytest.approx(before - after, abs=1e-5)


# --- curves -------------------------------------------------------------------------------------------------


def test_probabilities_are_a_plain_softmax_even_of_large_logits() -> None:
    logits = np.array([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [[1000.0, 0.0, 0.0], [-1000.0, 0.0, 5.0]]])
    found = probabilities(logits, np.array([2, 0]))
    total = math.exp(1) + math.exp(2) + math.exp(3)
    assert found == pytest.approx(np.array([[math.exp(3) / total, 1 / 3], [1.0, 0.0]]))


@pytest.mark.parametrize(
    ("curve", "under"), [([1, 1, 1, 1, 1], 1.0), ([1, 0.75, 0.5, 0.25, 0], 0.5), ([1, 0, 0, 0, 0], 0.125)]
)
def test_the_area_of_curves_that_one_can_draw(curve: list[float], under: float) -> None:
    assert area(np.array([curve])) == pytest.approx([under])


def test_the_area_is_the_sum_of_trapezoids() -> None:
    curves = np.random.default_rng(0).random((4, 3, 17))
    slow = sum((curves[..., step] + curves[..., step + 1]) / 2 / 16 for step in range(16))
    assert area(curves) == pytest.approx(slow)


# --- flips --------------------------------------------------------------------------------------------------


def test_an_error_has_turned_when_the_true_class_has_the_largest_logit() -> None:
    logits = np.array([[[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]], [[0.0, 2.0, 1.0], [0.0, 1.0, 2.0]]])
    assert turned(logits, np.array([1, 2])).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(("share", "patches", "count"), [(1 / 8, 16, 2), (1 / 4, 16, 4), (1 / 8, 64, 8), (1 / 8, 4, 1)])
def test_shares_are_whole_patches_and_at_least_one(share: float, patches: int, count: int) -> None:
    assert count_of(share, patches) == count

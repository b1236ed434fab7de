"""Convolutions of small maps as products: what torch gives, to the last digits of each precision."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench import small_maps
from bench.precision import autocast
from bench.small_maps import MOST, Product, convolution

CPU = torch.device("cpu")
CASES = {  # of the images, of the filters, stride, padding
    "3x3": ((3, 5, 4, 4), (7, 5, 3, 3), (1, 1), (1, 1)),
    "3x3, every second": ((3, 5, 8, 8), (7, 5, 3, 3), (2, 2), (1, 1)),
    "1x1": ((3, 5, 4, 4), (7, 5, 1, 1), (1, 1), (0, 0)),
    "1x1, every second": ((3, 5, 7, 7), (7, 5, 1, 1), (2, 2), (0, 0)),
    "not square": ((3, 5, 9, 2), (7, 5, 3, 2), (4, 1), (2, 1)),
    "without a border": ((3, 5, 6, 5), (7, 5, 3, 3), (1, 1), (0, 0)),
    "wider than its images": ((3, 5, 2, 2), (7, 5, 3, 3), (1, 1), (2, 2)),
    "more border than filter": ((3, 5, 1, 1), (7, 5, 1, 1), (1, 1), (1, 1)),
    "one position": ((3, 5, 4, 4), (7, 5, 4, 4), (1, 1), (0, 0)),
}
Case = tuple[tuple[int, ...], tuple[int, ...], tuple[int, int], tuple[int, int]]


def tensors(case: Case, dtype: torch.dtype, *, bias: bool = True) -> list[Tensor]:
    """Images in channels_last, filters and biases, which want gradients."""
    generator = torch.Generator().manual_seed(0)
    images, filters = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in case[:2])
    made = [images.contiguous(memory_format=torch.channels_last), filters]
    made += [torch.randn(len(filters), generator=generator, dtype=torch.float64)] if bias else []
    return [each.to(dtype).requires_grad_() for each in made]


def found(convolve: Callable[..., Tensor], given: list[Tensor], case: Case) -> list[Tensor]:
    """The map, and the gradients of some weighted sum of it."""
    images, filters, *bias = given
    result = convolve(images, filters, *(bias or [None]), case[2], case[3])
    weights = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view(result.shape).to(result.dtype)
    return [result.detach(), *torch.autograd.grad((result * weights).sum(), given)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_product_is_torchs_convolution_and_so_are_its_gradients(case: Case, bias: bool) -> None:
    given = tensors(case, torch.float64, bias=bias)
    ours, theirs = found(Product.apply, given, case), found(functional.conv2d, given, case)
    assert len(ours) == 3 + bias
    for own, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wanted", range(3))
def test_only_gradients_that_are_wanted_are_made(wanted: int) -> None:
    case = CASES["3x3"]
    given = [each.detach().requires_grad_(place == wanted) for place, each in enumerate(tensors(case, torch.float64))]
    Product.apply(*given, *case[2:]).sum().backward()
    assert [each.grad is not None for each in given] == [place == wanted for place in range(3)]


def test_filters_and_maps_stay_in_channels_last_and_gradients_in_the_type_of_the_weights() -> None:
    case = CASES["3x3, every second"]
    images, filters, bias = tensors(case, torch.float32)
    filters = filters.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    with autocast(CPU, "bf16"):
        result = functional.conv2d(images, filters, bias, case[2], case[3])
    result.sum().backward()
    assert result.dtype == torch.bfloat16 and filters.grad.dtype == images.grad.dtype == torch.float32
    for each in (result, filters.grad, images.grad):
        assert each.is_contiguous(memory_format=torch.channels_last)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The convolutions that were products."""
    made: list[Tensor] = []

    class Watched(Product):
        @classmethod
        def apply(cls, *given: object) -> Tensor:
            made.append(Product.apply(*given))
            return made[-1]

    monkeypatch.setattr(small_maps, "Product", Watched)
    return made


def test_in_bf16_a_net_is_as_near_to_the_truth_as_with_torchs_own_convolutions(products: list[Tensor]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 32, 1, stride=2), nn.Flatten(), nn.Linear(128, 4),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    images = torch.randn(32, 16, 8, 8).contiguous(memory_format=torch.channels_last)

    def gradients(block: object, model: nn.Module, batch: Tensor) -> Tensor:
        with block:  # type: ignore[attr-defined]
            logits = model(batch)
        found = torch.autograd.grad(logits.double().square().sum(), list(model.parameters()))
        return torch.cat([each.double().flatten() for each in found])

    ours = gradients(autocast(CPU, "bf16"), net, images)
    theirs = gradients(torch.autocast("cpu", torch.bfloat16), net, images)
    truth = gradients(autocast(CPU, "fp32"), net.double(), images.double())
    far = [((each - truth).norm() / truth.norm()).item() for each in (ours, theirs)]
    # A product of bfloat16 is summed in float32 and rounded once, here and there.
    assert len(products) == 3 and 0 < far[0] < 1.1 * far[1] < 0.02


@pytest.mark.parametrize(
    ("layer", "edge"),
    [
        (nn.Conv2d(8, 8, 3, padding=1, groups=2), 4),
        (nn.Conv2d(8, 8, 3, padding=2, dilation=2), 4),
        (nn.Conv2d(8, 8, 3, padding="same"), 4),
        (nn.Conv2d(8, 8, 3, padding=1), 5),
        (nn.ConvTranspose2d(8, 8, 3), 2),
    ],
    ids=["groups", "dilation", "words", "large", "transposed"],
)
def test_other_convolutions_are_torchs_own(layer: nn.Module, edge: int, products: list[Tensor]) -> None:
    images = torch.randn(2, 8, edge, edge).contiguous(memory_format=torch.channels_last)
    with autocast(CPU, "bf16"):
        ours = layer(images)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = layer(images)
    assert torch.equal(ours, theirs) and not products


def test_small_maps_are_products_in_bf16_on_a_cpu_and_nowhere_else(products: list[Tensor]) -> None:
    layer, edge = nn.Conv2d(8, 8, 3, padding=1), int(MOST**0.5)
    images = torch.randn(2, 8, edge, edge)
    last = images.contiguous(memory_format=torch.channels_last)
    for precision, given in (("fp32", last), ("fp16", last), ("bf16", images)):
        with autocast(CPU, precision):
            layer(given)
    layer(last)
    assert not products
    with autocast(CPU, "bf16"):
        layer(last)
        functional.conv2d(input=last, weight=layer.weight, padding=1)
    assert len(products) == 2
    layer(last)
    assert len(products) == 2


def test_an_image_without_a_batch_and_a_map_of_nothing_are_torchs_own() -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1)
    with autocast(CPU, "bf16"):
        assert layer(torch.randn(8, 4, 4)).shape == (8, 4, 4)
        with pytest.raises(RuntimeError, match="ernel size"):
            convolution(torch.randn(2, 8, 1, 1).contiguous(memory_format=torch.channels_last), torch.randn(8, 8, 3, 3))

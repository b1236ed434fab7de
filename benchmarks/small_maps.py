"""Convolutions of ResNet18 in bf16, forwards and backwards: torch's own beside the product of `bench.small_maps`.

    python benchmarks/small_maps.py --write docs/measurements.md

Every shape that the network has on 32x32 images, with a batch of 128, in turns. The rate is that of all three passes
together, beside the machine's matrix product.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from tables import finish, machine_words, parser_of, table
from torch import Tensor
from torch.nn import functional

from bench.machine import choose_device, product_rate, reuse_memory
from bench.small_maps import MOST, Product

# Channels in and out, pixels an edge of the images, of the filters, and the stride.
SHAPES = (
    (64, 64, 32, 3, 1),
    (64, 128, 32, 3, 2),
    (64, 128, 32, 1, 2),
    (128, 128, 16, 3, 1),
    (128, 256, 16, 3, 2),
    (128, 256, 16, 1, 2),
    (256, 256, 8, 3, 1),
    (256, 512, 8, 3, 2),
    (256, 512, 8, 1, 2),
    (512, 512, 4, 3, 1),
)


def passes(convolve: Callable[..., Tensor], given: list[Tensor], stride: int, padding: int) -> float:
    """Seconds of a forward and a backward pass."""
    started = time.perf_counter()
    result = convolve(*given, None, (stride, stride), (padding, padding))
    torch.autograd.grad(result, given, torch.ones_like(result))
    return time.perf_counter() - started


def row_of(shape: tuple[int, int, int, int, int], batch: int, rounds: int, limit: float) -> list[str]:
    """Medians of both ways, in ms, and what share of the limit each reaches."""
    inside, outside, edge, kernel, stride = shape
    images = torch.randn(batch, inside, edge, edge).bfloat16().contiguous(memory_format=torch.channels_last)
    filters = (torch.randn(outside, inside, kernel, kernel) * 0.05).bfloat16()
    given = [each.requires_grad_() for each in (images, filters.contiguous(memory_format=torch.channels_last))]
    ways = (functional.conv2d, Product.apply)
    found: list[list[float]] = [[], []]
    for number in range(rounds + 2):
        for way in (0, 1, 1, 0):
            seconds = passes(ways[way], given, stride, kernel // 2)
            if number > 1:  # the first ones choose kernels
                found[way].append(seconds)
    lines = edge // stride
    flop = 3 * 2.0 * batch * outside * inside * kernel**2 * lines**2
    taken = [median(each) for each in found]
    name = f"{kernel}x{kernel}, {inside} to {outside}" + (f", stride {stride}" if stride > 1 else "")
    return [
        name,
        f"{lines}x{lines}",
        *(f"{1000 * each:.1f} ms, {flop / each / limit:.0%}" for each in taken),
        "product" if lines**2 <= MOST else "torch's",
    ]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = parser_of(__doc__, rounds=10, device="cpu", write=None)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    device = choose_device(options.device)
    reuse_memory(device)
    limit = product_rate(device, "bf16")
    rows = [row_of(shape, options.batch_size, options.rounds, limit) for shape in SHAPES]
    heads = ["convolution", "map", "torch's own", "product", "taken"]
    head = (
        f"{machine_words(device, 'torch')}; bf16, batch {options.batch_size}, medians of {2 * options.rounds}; shares "
        f"are of the matrix product, {limit / 1e9:,.0f} GFLOP/s."
    )
    finish(f"{head}\n\n{table(heads, rows, {'convolution', 'map', 'taken'})}", options.write, "small maps")


if __name__ == "__main__":
    main()

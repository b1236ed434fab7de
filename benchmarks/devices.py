"""What a training will take on devices that people have: estimates, by what such nets usually reach of their peaks.

    python benchmarks/devices.py --write docs/devices.md

Nothing is measured here. The work is that of 20 epochs of CIFAR-10; the peaks are those that makers publish for the
precision that bench would choose, without sparsity.
"""

from tables import finish, parser_of, table

from bench.contracts import ModelSpec
from bench.estimates import BACKWARD_COST, duration
from bench.nets.summary import summarise
from bench.nets.weights import build_seeded
from bench.registry.registry import discover

IMAGES = 20 * 50_000
# Peak, TFLOP/s, and the share of it that is reached, as published for this net or one like it.
DEVICES = (
    ("H100, H200, bf16", 990.0, 0.17),
    ("A100, bf16", 312.0, 0.2),
    ("RTX 3060, bf16", 51.0, 0.25),
    ("T4 (Colab, Kaggle), fp16", 65.0, 0.15),
    ("P100 (Kaggle), fp32", 9.3, 0.6),
    ("Apple M3 Max, its GPU, fp32", 14.0, 0.35),
    ("Apple M1, its GPU, fp32", 2.6, 0.35),
    ("laptop, 8 cores with AVX2, fp32", 0.6, 0.5),
    ("two cores with AMX, bf16", 2.2, 0.33),
    ("two cores without, fp32", 0.15, 0.7),
)


def main() -> None:
    """Print the table, and write it where asked."""
    options = parser_of(__doc__, model="cifar_resnet18", write=None).parse_args()
    spec = discover("model", ModelSpec)[options.model]
    flops = BACKWARD_COST * 2 * summarise(build_seeded(spec, 10, 0), spec.input_size).macs
    rows = []
    for name, peak, share in DEVICES:
        rate = share * peak * 1e12 / flops
        rows.append([name, f"{peak:g}", f"{share:.0%}", f"{float(f'{rate:.2g}'):,.0f}", duration(IMAGES / rate)])
    heads = ["device", "peak, TFLOP/s", "share reached", "images/s", "20 epochs"]
    finish(table(heads, rows, {"device"}), options.write, "devices")


if __name__ == "__main__":
    main()

"""Write the tables of a timing into docs/measurements.md.

python benchmarks/speeds.py runs/timing/WHEN.json docs/measurements.md
"""

import sys
from pathlib import Path

from tables import table, write_between

from bench.pages.speeds import ratio_words
from bench.schema.timing import ArmTiming, Timing
from bench.stats.rates import interval_words, limit_words, number_words
from bench.store.timings import read_timing

HEADS = ["what", "images/s", "interval", "p10 to p90", "spread", "against the first", "batch 1, ms", "peak, MB",
         "GFLOP an image", "of the matrix product", "of the copy"]  # fmt: skip


def figures(timing: Timing) -> str:
    """All arms, the machine's own limits, and what a reader should know first."""
    arms = [arm for arm in timing.arms if arm.unit == "images"]
    limits = [arm for arm in timing.arms if arm.unit != "images"]
    versions = ", ".join(f"{name} {number}" for name, number in timing.versions.items())
    return "\n\n".join(
        [
            f"Timing {timing.id}, {timing.device}, {versions}; batch {timing.batch_size}, {timing.memory_format}, "
            f"{timing.rounds} rounds, {timing.threads} threads. Others took {_share(timing.others)} of the machine.",
            *(f"Note: {note}." for note in timing.notes),
            table(HEADS, [row(arm) for arm in arms], {"what"}),
            table(
                ["limit", "rate", "interval", "spread"],
                [[*limit_words(arm), f"{100 * arm.spread:.1f} %"] for arm in limits],
                {"limit"},
            ),
        ]
    )


def row(arm: ArmTiming) -> list[str]:
    """A line of the table."""
    floor = "" if arm.floor_gflop is None else f" (floor {arm.floor_gflop:.2f})"
    return [
        f"`{arm.name}`"
        + (f", {arm.precision}" if arm.precision != "fp32" else "")
        + ("" if arm.settled else ", unsettled"),
        number_words(arm.rate, arm.low, arm.high),
        interval_words(arm.rate, arm.low, arm.high),
        interval_words(arm.rate, arm.p10, arm.p90),
        f"{100 * arm.spread:.1f} %" + ("" if arm.grade == "steady" else f" ({arm.grade})"),
        ratio_words(arm.ratio),
        "–" if arm.latency_ms is None else f"{arm.latency_ms:.3g}",
        "–" if arm.memory_mb is None else f"{arm.memory_mb:,.0f}",
        "–" if arm.gflop is None else f"{arm.gflop:.3g}{floor}",
        _share(arm.of_product),
        _share(arm.of_copy),
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def main() -> None:
    """Replace what stands between the two marks."""
    source, target = (Path(each) for each in sys.argv[1:3])
    write_between(target, "timing", figures(read_timing(source)))


if __name__ == "__main__":
    main()

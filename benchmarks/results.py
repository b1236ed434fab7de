"""Write the tables of docs/results.md from the JSON twin of a comparison page.

python benchmarks/results.py runs/compare/1/page.json docs/results.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tables import points, table, write_between

WORDS = {"model", "first", "second", "explainer", "layer", "explainers"}


def rate(value: float | None) -> str:
    """A rate, or a dash."""
    return "–" if value is None else f"{value:.1f}"


def figures(page: dict[str, Any]) -> str:
    """Accuracy, paired tests, cost of explainers and their agreement."""
    runs = page["runs"]
    accuracy = [
        [
            f"`{run['model']}`",
            f"{run['train_images']:,}",
            str(run["epochs"]),
            f"{100 * run['accuracy']['value']:.2f} %",
            f"{100 * run['accuracy']['low']:.1f} to {100 * run['accuracy']['high']:.1f}",
            f"{run['total'] - run['correct']:,}",
            str(run["only_wrong"]),
            rate(run["forward_rate"]),
        ]
        for run in runs
    ]
    pairs = [
        [
            f"`{runs[pair['first']]['model']}`",
            f"`{runs[pair['second']]['model']}`",
            str(pair["only_first_wrong"]),
            str(pair["only_second_wrong"]),
            points(pair["difference"]["value"]),
            f"{points(pair['difference']['low'])} to {points(pair['difference']['high'])}",
            "< 0.001" if pair["p_value"] < 0.001 else f"{pair['p_value']:.2g}",
        ]
        for pair in page["pairs"]
    ]
    cells = [
        [
            f"`{runs[cell['run']]['model']}`",
            cell["explainer"],
            cell["layer"],
            f"{cell['rows']:,}",
            rate(cell["ms_per_image"]),
            str(cell["dead"]),
        ]
        for cell in page["cells"]
    ]
    agreements = [
        [
            f"`{runs[one['run']]['model']}`",
            one["layer"],
            f"{one['first']}, {one['second']}",
            f"{one['rows']:,}",
            f"{one['largest']:.1e}",
            "–" if one["spearman"] is None else f"{one['spearman']:.3f}",
            "–" if one["null"] is None else f"{one['null']:.2f}",
        ]
        for one in page["agreements"]
    ]
    hardware = sorted({run["device"] for run in runs})
    versions = next(value for _, rows in page["provenance"] for key, value in rows if key == "versions")
    parts = [
        f"Hardware: {'; '.join(hardware)}. Versions: {versions}. n = {runs[0]['total']:,} test images, one seed.",
        "### Accuracy",
        table(
            ["model", "training images", "epochs", "accuracy", "95 % interval", "errors", "only this one wrong",
             "forward, images/s"],
            accuracy,
            WORDS,
        ),
        table(
            ["first", "second", "only the first wrong", "only the second wrong", "difference, points",
             "95 % interval", "exact McNemar p"],
            pairs,
            WORDS,
        ),
        "### Explainers",
        table(["model", "explainer", "layer", "maps", "ms an image", "no positive value"], cells, WORDS),
        table(
            ["model", "layer", "explainers", "maps", "largest difference of raw maps, relative", "rank correlation",
             "of unrelated maps"],
            agreements,
            WORDS,
        ),
    ]  # fmt: skip
    return "\n\n".join(parts)


def main() -> None:
    """Replace what stands between the two marks."""
    source, target = (Path(each) for each in sys.argv[1:3])
    write_between(target, "figures", figures(json.loads(source.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()

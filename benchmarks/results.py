"""Write the tables of docs/measurements.md from the JSON twin of a comparison page.

python benchmarks/results.py runs/compare/N/page.json docs/measurements.md
"""

import json
import sys
from pathlib import Path
from typing import Any

from tables import p_words, points, table, write_between

WORDS = {"model", "first", "second", "explainer", "layer", "explainers"}
ACCURACY = ["model", "seed", "training images", "epochs", "accuracy", "95 % interval", "errors",
            "only this one wrong"]  # fmt: skip
PAIRS = ["first", "second", "only the first wrong", "only the second wrong", "difference, points", "95 % interval",
         "exact McNemar p"]  # fmt: skip
CELLS = ["model", "explainer", "layer", "maps", "no positive value"]
AGREEMENTS = ["model", "layer", "explainers", "maps", "largest difference of raw maps, relative", "rank correlation",
              "of unrelated maps"]  # fmt: skip


def figures(page: dict[str, Any]) -> str:
    """Accuracy, paired tests, the state of the maps and how explainers agree; speeds have tables of their own."""
    hardware = sorted({run["device"] for run in page["runs"]})
    versions = next(value for _, rows in page["provenance"] for key, value in rows if key == "versions")
    images = page["runs"][0]["total"]
    parts = [
        f"Hardware: {'; '.join(hardware)}. Versions: {versions}. n = {images:,} test images, one seed a model.",
        "### Accuracy",
        table(ACCURACY, accuracies(page), WORDS),
        table(PAIRS, pairs(page), WORDS),
        "### Explainers",
        table(CELLS, cells(page), WORDS),
        table(AGREEMENTS, agreements(page), WORDS),
    ]
    return "\n\n".join(parts)


def model(page: dict[str, Any], run: int) -> str:
    """The model of a run, as code."""
    return f"`{page['runs'][run]['model']}`"


def accuracies(page: dict[str, Any]) -> list[list[str]]:
    """A line for each run."""
    return [
        [
            f"`{run['model']}`",
            str(run["seed"]),
            f"{run['train_images']:,}",
            str(run["epochs"]),
            f"{100 * run['accuracy']['value']:.2f} %",
            f"{100 * run['accuracy']['low']:.1f} to {100 * run['accuracy']['high']:.1f}",
            f"{run['total'] - run['correct']:,}",
            str(run["only_wrong"]),
        ]
        for run in page["runs"]
    ]


def pairs(page: dict[str, Any]) -> list[list[str]]:
    """A line for each two runs."""
    return [
        [
            model(page, pair["first"]),
            model(page, pair["second"]),
            str(pair["only_first_wrong"]),
            str(pair["only_second_wrong"]),
            points(pair["difference"]["value"]),
            f"{points(pair['difference']['low'])} to {points(pair['difference']['high'])}",
            p_words(pair["p_value"]),
        ]
        for pair in page["pairs"]
    ]


def cells(page: dict[str, Any]) -> list[list[str]]:
    """A line for each explainer at each layer."""
    return [
        [model(page, cell["run"]), cell["explainer"], cell["layer"], f"{cell['rows']:,}", str(cell["dead"])]
        for cell in page["cells"]
    ]


def agreements(page: dict[str, Any]) -> list[list[str]]:
    """A line for each two explainers at a layer."""
    return [
        [
            model(page, one["run"]),
            one["layer"],
            f"{one['first']}, {one['second']}",
            f"{one['rows']:,}",
            f"{one['largest']:.1e}",
            "–" if one["spearman"] is None else f"{one['spearman']:.3f}",
            "–" if one["null"] is None else f"{one['null']:.2f}",
        ]
        for one in page["agreements"]
    ]


def main() -> None:
    """Replace what stands between the two marks."""
    source, target = (Path(each) for each in sys.argv[1:3])
    write_between(target, "figures", figures(json.loads(source.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()

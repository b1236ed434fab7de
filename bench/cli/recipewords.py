"""A recipe in a few lines of words, for `bench list recipes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.recipes.recipe import Recipe


def recipe_in_words(row: dict[str, object]) -> dict[str, object]:
    """A few lines beside the name, short enough for 80 columns."""
    from bench.recipes.recipe import RECIPES

    one = RECIPES[str(row["name"])]
    epochs = f"{one.epochs} epoch{'s' if one.epochs != 1 else ''} of batch {one.batch_size}, {one.optimizer}"
    start, end = (f"{one.lr * share:g}" for share in (one.lr_start, one.lr_end))
    rate = f"rate {start} to {one.lr:g} at {one.warm_up:.0%}, then to {end}"
    what = ", ".join(_switched_on(one)) or "no augmentation"
    measured = f"measured: {one.measured}" if one.measured else "not measured here"
    return {"name": one.name, "how": "\n".join((f"{epochs}, {rate}", what, one.source, measured, ""))}


def _switched_on(one: Recipe) -> list[str]:
    """The ingredients that a recipe adds to plain training, and what its batches go through."""
    changes = one.augmentation
    sizes = ", ".join(f"{share:.0%} at {edge}" for edge, share in one.sizes)
    words = {
        "whitened stem": one.whiten,
        "residual branches from 0": one.zero_init,
        f"label smoothing {one.label_smoothing:g}": one.label_smoothing,
        f"lookahead {one.lookahead}": one.lookahead,
        f"biases at {one.bias_scale:g} x rate": one.bias_scale != 1,
        "no decay of norms": not one.norm_decay,
        f"first epochs smaller ({sizes} pixels)": one.sizes,
        f"crop {changes.pad}": changes.pad,
        "mirror in turns" if changes.alternate else "mirror": changes.flip,
        f"cutout {changes.cutout}": changes.cutout,
    }
    return [text for text, on in words.items() if on]

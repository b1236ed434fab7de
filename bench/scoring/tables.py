"""Scores as tables of words, for the terminal and for Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.registry.registry import short
from bench.schema.page import Estimate
from bench.schema.scores import ExplainerScores, FaithfulnessScores, Likeness, SanityScores

NO_EVIDENCE = "no evidence"
NOTHING = "–"
WORD_HEADS = frozenset({"layer", "explainer", "first", "second", "scrambled from the head down to", "reading"})


@dataclass(frozen=True)
class Sheet:
    """A table of words.

    Attributes:
        note: how to read it, in a sentence.
    """

    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(found: FaithfulnessScores) -> tuple[Sheet, ...]:
    """All tables of a run; those without a row are left out."""
    makers: tuple[Callable[[FaithfulnessScores], Sheet], ...] = (truth, curves, flips, agreement, sanity, state)
    return tuple(sheet for sheet in (make(found) for make in makers) if sheet.rows)


# --- figures in words ---------------------------------------------------------------------------------------


def figure(one: Estimate | None, form: str = ".2f", *, scale: int = 1, unit: str = "") -> str:
    """A value and its interval."""
    if one is None:
        return NOTHING
    value, low, high = (f"{scale * each:{form}}" for each in (one.value, one.low, one.high))
    return f"{value}{unit} ({low} to {high})".replace("-0.00 ", "0.00 ")


def gain(one: Estimate | None, form: str = "+.3f", *, scale: int = 1) -> str:
    """A gain and its interval; marked where that reaches 0."""
    mark = f", {NO_EVIDENCE}" if one is not None and one.low <= 0 <= one.high else ""
    return figure(one, form, scale=scale) + mark


def beside(one: Likeness | None) -> tuple[str, str, str]:
    """A likeness, that of other images' maps, and what may be said of the two."""
    if one is None or one.value is None:
        return (NOTHING, NOTHING, NOTHING)
    return figure(one.value), figure(one.null), one.verdict


def percent(one: Estimate | None) -> str:
    """A share in per cent and its interval."""
    return figure(one, ".1f", scale=100, unit=" %")


def points(one: Estimate | None) -> str:
    """A difference of shares in points and its interval; marked where that reaches 0."""
    return gain(one, "+.1f", scale=100)


# --- tables -------------------------------------------------------------------------------------------------


def truth(found: FaithfulnessScores) -> Sheet:
    """Rank correlation with the drops."""
    rows = [
        (one.layer, short(one.explainer), str(one.images), *beside(one.logit), *beside(one.margin))
        for one in found.rows
    ]
    return Sheet(
        "Against covering one patch at a time",
        "Rank correlation of a map's patches with the drop of the predicted class's logit when a patch takes the mean "
        "colour, and of predicted minus true map with the drop of the margin; beside it, against other images' drops.",
        ("layer", "explainer", "images", "logit", "other images", "reading", "margin", "other images", "reading"),
        tuple(rows),
    )


def curves(found: FaithfulnessScores) -> Sheet:
    """Gains of deletion and insertion."""
    rows = [
        (
            one.layer, short(one.explainer), str(one.images), gain(one.deletion.over_random),
            own_order(one, gain(one.deletion.over_centre)), gain(one.insertion.over_random),
            own_order(one, gain(one.insertion.over_centre)),
        )
        for one in found.rows
    ]  # fmt: skip
    return Sheet(
        "Deletion and insertion",
        "Area under the predicted class's probability while patches go or come in the map's order; above 0 is better "
        "than random orders, and than patches from the middle outwards.",
        ("layer", "explainer", "images", "deletion, over random", "deletion, over centre",
         "insertion, over random", "insertion, over centre"),
        tuple(rows),
    )  # fmt: skip


def own_order(one: ExplainerScores, words: str) -> str:
    """Nothing where an order would be held against itself."""
    return NOTHING if one.health is None and one.explainer == "centre" else words


def flips(found: FaithfulnessScores) -> Sheet:
    """Errors that turn."""
    rows = [
        (
            one.layer, short(one.explainer), f"{each.patches} of {one.height * one.width}", percent(each.turned),
            percent(each.random), points(each.gain),
        )
        for one in found.rows
        for each in one.flips
    ]  # fmt: skip
    return Sheet(
        "Errors that turn to the true class",
        "Share of the errors that become right when the patches that speak most for the predicted and against the true "
        "class are covered, and when as many random patches are.",
        ("layer", "explainer", "patches covered", "turned", "random patches", "difference, points"),
        tuple(rows),
    )


def agreement(found: FaithfulnessScores) -> Sheet:
    """Explainers against each other and the baselines."""
    rows = [
        (one.layer, short(one.first), short(one.second), *beside(one.spearman), *beside(one.overlap))
        for one in found.pairs
    ]
    return Sheet(
        "Agreement",
        "Rank correlation of two maps of one image, and intersection over union of their top eighth of values; beside "
        "it, of maps of different images.",
        ("layer", "first", "second", "rank correlation", "other images", "reading", "overlap", "other images",
         "reading"),
        tuple(rows),
    )  # fmt: skip


def sanity(found: FaithfulnessScores) -> Sheet:
    """Maps of scrambled weights; explainers with the same figures share a line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for one in found.sanity:
        lines.setdefault((one.layer, one.stage, *beside(one.spearman)[:2], dependence(one)), []).append(
            short(one.explainer)
        )
    rows = [(", ".join(names), *words) for words, names in lines.items()]
    return Sheet(
        "With scrambled weights",
        "Rank correlation of the map before and after the weights from the head down to a stage changed places; a map "
        "that shows what was learned is then no more like itself than like other images' maps.",
        ("explainer", "layer", "scrambled from the head down to", "rank correlation", "other images", "reading"),
        tuple(rows),
    )


def dependence(one: SanityScores) -> str:
    """What may be said once weights were scrambled."""
    if one.spearman.value is None:
        return NOTHING
    words = {"above": "still alike", "below": "turned round"}
    return words.get(one.spearman.verdict, "nothing left")


def state(found: FaithfulnessScores) -> Sheet:
    """Health and class contrast of explainers; baselines have none."""
    rows: Sequence[tuple[str, ...]] = [
        (
            one.layer, short(one.explainer), str(health.maps), str(health.dead), str(health.constant),
            str(health.non_finite), NOTHING if health.tied is None else f"{100 * health.tied:.0f} %",
            NOTHING if health.kappa is None else f"{health.kappa:.1f} ({health.kappa_largest:.3g})",
            *beside(one.contrast), same_order(one),
        )
        for one in found.rows
        if (health := one.health) is not None
    ]  # fmt: skip
    return Sheet(
        "State of the maps, and predicted beside true class",
        "Maps that are dead, constant or not finite are in no mean. Tied: values that another position has, too, after "
        "the ReLU. Kappa: how much an error of a raw value grows in the picture, median (largest). Then the rank "
        "correlation of the maps of predicted and true class, beside that of different images.",
        ("layer", "explainer", "maps", "dead", "constant", "not finite", "tied", "kappa", "two classes", "other images",
         "reading", "same order of patches"),
        tuple(rows),
    )  # fmt: skip


def same_order(one: ExplainerScores) -> str:
    """Whose order of patches it shares, and how often."""
    return f"{short(one.alike)}, {one.alike_images} of {one.images}" if one.alike else NOTHING


def head_words(found: FaithfulnessScores) -> str:
    """What the tables are of, in a line."""
    rate = f", {found.new:,} of them computed now at {found.new / found.seconds:.0f} a second" if found.seconds else ""
    return (
        f"{found.run}: {found.images:,} of {found.wrong:,} misclassified images, {found.answers:,} answers to covered "
        f"patches{rate}; intervals are 95 %, by bootstrap over images"
    )

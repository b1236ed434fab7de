"""Scores as tables of words, for the terminal and for Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.registry.registry import short
from bench.schema.page import Estimate
from bench.schema.scores import NO_EVIDENCE, Difference, ExplainerScores, FaithfulnessScores, Flip, Gain, Likeness
from bench.scoring.fills import MEAN_COLOUR

NOTHING = "–"
NEEDS = (
    "Above: better than other images of the class and than every row made without a model, with the Holm correction "
    "over the whole table; the intervals of gains have that level."
)
WORD_HEADS = frozenset(
    {"score", "better", "layer", "explainer", "first", "second", "scrambled from the head down to", "reading"}
)


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
    makers: tuple[Callable[[FaithfulnessScores], Sheet], ...] = (
        truth, by_fills, curves, road, flips, against, agreement, scores_beside, sanity, state,
    )  # fmt: skip
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
    return figure(one.value), figure(one.null), reading(one)


def reading(one: Likeness | Gain | Flip) -> str:
    """The word of a figure; of a row that knows no model none."""
    return one.verdict or NOTHING


def over(one: Likeness | Gain | Flip, form: str = ".2f", *, scale: int = 1) -> str:
    """The gain over the row that knows no model over which it is least clear, and which row that is."""
    return f"{figure(one.over, form, scale=scale)} {one.rival}" if one.over else NOTHING


def percent(one: Estimate | None) -> str:
    """A share in per cent and its interval."""
    return figure(one, ".1f", scale=100, unit=" %")


def points(one: Estimate | None) -> str:
    """A difference of shares in points and its interval; marked where that reaches 0."""
    return gain(one, "+.1f", scale=100)


# --- tables -------------------------------------------------------------------------------------------------


def truth(found: FaithfulnessScores) -> Sheet:
    """Rank correlation with the drops by the mean colour."""
    rows = [
        (
            one.layer, short(one.explainer), str(one.images), *beside(one.logit)[:2], over(one.logit),
            reading(one.logit), *beside(one.margin)[:2], over(one.margin), reading(one.margin),
        )
        for one in found.rows
    ]  # fmt: skip
    alone = max((one.logit.alone for one in found.rows), default=0)
    left_out = f" Not counted: {alone} images that are the only ones of their class." if alone else ""
    return Sheet(
        "Against covering one patch at a time, by mean colour",
        "Logit: rank correlation of a map's patches with the drop of the predicted class's logit when each patch is "
        "replaced by the mean colour. Margin: the same for predicted minus true map and the drop of the margin. Same "
        f"class: with the drops of other images of the class.{left_out} Over the best: the gain, image by image, over "
        f"the row without a model that is hardest to beat. {NEEDS}",
        ("layer", "explainer", "images", "logit", "same class", "over the best", "reading", "margin", "same class",
         "over the best", "reading"),
        tuple(rows),
    )  # fmt: skip


def by_fills(found: FaithfulnessScores) -> Sheet:
    """Rank correlation with the drops by each fill, and of these with each other."""
    fills = fills_of(found)
    rows: list[tuple[str, ...]] = []
    for layer in dict.fromkeys(one.layer for one in found.rows):
        for one in (one for one in found.rows if one.layer == layer):
            every = [one.logit, *one.fills]
            words = [word for each in every for word in (figure(each.value), reading(each))]
            rows.append((layer, short(one.explainer), *words))
        for fill in fills if found.ceilings else ():
            words = [word for other in fills for word in (figure(ceiling(found, layer, (fill, other))), NOTHING)]
            rows.append((layer, f"the drops by {fill}", *words))
    return Sheet(
        "Against covering one patch at a time, by what the patch takes",
        "Rank correlation with the drop of the predicted class's logit when a patch is replaced by the mean colour, by "
        "a blur of the image, or by another image of another class. Last rows: how similar the drops with two "
        "replacements are, image by image; no map can be expected to agree better with both.",
        ("layer", "explainer", *(head for fill in fills for head in (f"by {fill}", "reading"))),
        tuple(rows) if len(fills) > 1 else (),
    )


def fills_of(found: FaithfulnessScores) -> tuple[str, ...]:
    """What covered patches took, the mean colour first."""
    return (MEAN_COLOUR, *(each.fill for each in found.rows[0].fills)) if found.rows else ()


def ceiling(found: FaithfulnessScores, layer: str, fills: tuple[str, str]) -> Estimate | None:
    """How alike the drops by two fills are at a layer; None for one and the same."""
    of_both = (one.value for one in found.ceilings if one.layer == layer and {one.fill, one.other} == set(fills))
    return next(of_both, None)


def curves(found: FaithfulnessScores) -> Sheet:
    """Gains of deletion and insertion."""
    rows = [
        (
            one.layer, short(one.explainer), str(one.images),
            *(word for each in (one.deletion, one.insertion)
              for word in (figure(each.area), gain(each.over_random), over(each, "+.3f"), reading(each))),
        )
        for one in found.rows
    ]  # fmt: skip
    of_each = ("area", "over random", "over the best", "reading")
    return Sheet(
        "Deletion and insertion, by mean colour",
        "Area under the predicted class's probability while patches are hidden by the mean colour (deletion) or shown "
        "(insertion) in the map's order. Its gain over random orders, and over the row without a model that is hardest "
        f"to beat: above 0 is better. {NEEDS}",
        ("layer", "explainer", "images", *(f"deletion, {each}" for each in of_each),
         *(f"insertion, {each}" for each in of_each)),
        tuple(rows),
    )  # fmt: skip


def road(found: FaithfulnessScores) -> Sheet:
    """ROAD."""
    rows = [
        (
            one.layer, short(one.explainer), str(one.road.images), figure(one.road.morf), figure(one.road.lerf),
            figure(one.road.gain.area, "+.3f"), over(one.road.gain, "+.3f"), reading(one.road.gain),
        )
        for one in found.rows
        if one.road is not None
    ]  # fmt: skip
    return Sheet(
        "ROAD: patches filled from what is around them",
        "Mean probability of the predicted class while 20, 40, 60 and 80 % of the patches are filled with the weighted "
        "mean of their neighbours and a little noise, the map's largest first, or last. Half the difference: above 0 "
        f"is better. Over the best: its gain over the row without a model that is hardest to beat. {NEEDS}",
        ("layer", "explainer", "images", "largest first", "largest last", "half the difference", "over the best",
         "reading"),
        tuple(rows),
    )  # fmt: skip


def against(found: FaithfulnessScores) -> Sheet:
    """Explainers against each other by every score: what is clear, and what could not have been seen."""
    rows = []
    for layer, score in dict.fromkeys((one.layer, one.score) for one in found.differences):
        pairs = [one for one in found.differences if (one.layer, one.score) == (layer, score)]
        missed = [one.missed for one in pairs if one.missed is not None]
        clear = "; ".join(_better(one) for one in pairs if one.verdict in ("first", "second"))
        equal = sum(one.verdict == "equal" for one in pairs)
        rows.append((
            layer, score, str(max(one.images for one in pairs)), str(len(pairs)), str(equal),
            f"{max(missed):.3f}" if missed else NOTHING, clear or (NO_EVIDENCE if len(pairs) > equal else "equal"),
        ))  # fmt: skip
    return Sheet(
        "Explainer against explainer",
        "Each pair of explainers by each score, image by image, with the Holm correction over all pairs and scores; "
        "intervals have that level. Missed under: with this number of images, a smaller difference would be missed in "
        "one of five samples (80 % power), so 'no evidence' does not mean 'equal'. Steadiness: largest sensitivity, "
        "less is better.",
        ("layer", "score", "images", "pairs", "equal", "missed under", "better"),
        tuple(rows),
    )


def _better(one: Difference) -> str:
    """`captum over saliency by 0.046 (0.014 to 0.081)`."""
    if one.value is None:
        return ""
    names, value = (one.first, one.second), one.value
    if one.verdict == "second":
        names, value = (one.second, one.first), Estimate(-value.value, -value.high, -value.low)
    return f"{short(names[0])} over {short(names[1])} by {figure(value, '.3f')}"


def scores_beside(found: FaithfulnessScores) -> Sheet:
    """Which scores agree with which."""
    scores = list(dict.fromkeys(each for one in found.alike for each in (one.first, one.second)))
    known = {frozenset((one.first, one.second)): one.value for one in found.alike}

    def words(one: str, other: str) -> str:
        value = known.get(frozenset((one, other)))
        return NOTHING if value is None else f"{value:+.2f}"

    count = found.alike[0].rows if found.alike else 0
    return Sheet(
        "Which scores agree with which",
        f"Rank correlation of two scores over {count} explainers at layers that differ. If it is low or negative, the "
        "two scores put explainers in different orders, and one cannot replace the other. With so few it is no proof.",
        ("score", *scores),
        tuple((one, *(words(one, other) for other in scores)) for one in scores),
    )


def flips(found: FaithfulnessScores) -> Sheet:
    """Errors that turn."""
    rows = [
        (
            one.layer, short(one.explainer), f"{each.patches} of {one.height * one.width}", percent(each.turned),
            percent(each.random), points(each.gain), over(each, "+.1f", scale=100), reading(each),
        )
        for one in found.rows
        for each in one.flips
    ]  # fmt: skip
    return Sheet(
        "Errors that turn to the true class, by mean colour",
        "Share of the errors that become right when the patches that speak most for the predicted and against the true "
        "class are replaced by the mean colour, and when as many random patches are. Over the best: in points, over "
        f"the row without a model that is hardest to beat. {NEEDS}",
        ("layer", "explainer", "patches covered", "turned", "random patches", "difference, points", "over the best",
         "reading"),
        tuple(rows),
    )  # fmt: skip


def agreement(found: FaithfulnessScores) -> Sheet:
    """Explainers against each other and the baselines."""
    rows = [
        (one.layer, short(one.first), short(one.second), *beside(one.spearman), *beside(one.overlap))
        for one in found.pairs
    ]
    return Sheet(
        "Agreement",
        "Rank correlation of two maps of one image, and overlap (intersection over union) of their top eighth of "
        "values. Same class: the same for maps of different images of one class.",
        ("layer", "first", "second", "rank correlation", "same class", "reading", "overlap", "same class",
         "reading"),
        tuple(rows),
    )  # fmt: skip


def sanity(found: FaithfulnessScores) -> Sheet:
    """Maps of scrambled weights; explainers with the same figures share a line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for one in found.sanity:
        figures = tuple(map(figure, (one.rho, one.absolute, one.null, one.excess)))
        lines.setdefault((one.layer, one.stage, str(one.images), *figures, one.verdict), []).append(
            short(one.explainer)
        )
    draws = max((one.draws for one in found.sanity), default=1)
    return Sheet(
        "With scrambled weights",
        "Rank correlation of the map before and after the weights from the last layer down to a stage were shuffled, "
        f"the same without its sign, and for other images of the class; {draws} random orders and all images. Nothing "
        "left: the intervals of the correlation and of the difference are within plus-minus 0.1. Still alike: the "
        "interval is above 0.1. Else undecided.",
        ("explainer", "layer", "scrambled from the head down to", "images", "rank correlation", "without its sign",
         "same class", "difference", "reading"),
        tuple((", ".join(names), *words) for words, names in lines.items()),
    )  # fmt: skip


def state(found: FaithfulnessScores) -> Sheet:
    """Health and class contrast of explainers; baselines have none."""
    rows: Sequence[tuple[str, ...]] = [
        (
            one.layer, short(one.explainer), str(health.maps), str(health.dead), str(health.constant),
            str(health.non_finite), NOTHING if health.tied is None else f"{100 * health.tied:.0f} %",
            NOTHING if health.kappa is None else f"{health.kappa:.1f} ({health.kappa_largest:.3g})",
            figure(one.sparseness), figure(one.sensitivity, ".3f"),
            *beside(one.contrast), same_order(one),
        )
        for one in found.rows
        if (health := one.health) is not None
    ]  # fmt: skip
    return Sheet(
        "State of the maps, and predicted beside true class",
        "Maps that are dead, constant or not finite are left out of all means. Tied: values that occur at more than "
        "one position after the ReLU. Kappa: how much an error of a raw value grows in the picture, median (largest). "
        "Sparseness: Gini's index of the sizes of the values; 1 if one value is all there is. Sensitivity: the largest "
        "change of the map, relative to its length, while each pixel changes by up to 0.02. Two classes: rank "
        "correlation of the maps of predicted and true class. Same class: the same for other images of the class.",
        ("layer", "explainer", "maps", "dead", "constant", "not finite", "tied", "kappa", "sparseness", "sensitivity",
         "two classes",
         "same class", "reading", "same order of patches"),
        tuple(rows),
    )  # fmt: skip


def same_order(one: ExplainerScores) -> str:
    """Whose order of patches it shares, and how often."""
    return f"{short(one.alike)}, {one.alike_images} of {one.images}" if one.alike else NOTHING


def head_words(found: FaithfulnessScores) -> str:
    """What the tables are of, in a line."""
    rate = f", {found.new:,} of them computed now at {found.new / found.seconds:.0f} a second" if found.seconds else ""
    return (
        f"{found.run}: {found.images:,} of {found.wrong:,} misclassified images, {found.answers:,} answers to images "
        f"with hidden patches{rate}; intervals are 95 %, by bootstrap over images"
    )

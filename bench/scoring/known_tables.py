"""The tests with known answers as tables of words, for the terminal and for Markdown."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from bench.registry.registry import short
from bench.schema.known_answers import UNASKED, Claim, KnownAnswers, MosaicScore, StickerScore
from bench.schema.scores import NO_EVIDENCE
from bench.scoring.baselines import BASELINES
from bench.scoring.tables import NOTHING, Sheet, figure, percent

Row = TypeVar("Row", StickerScore, MosaicScore)
FREE = "knows no model"
SELDOM, WEAK = "in fewer than half", "only weak ones"


def known_sheets(found: KnownAnswers) -> tuple[Sheet, ...]:
    """All tables; those without a row are left out."""
    makers: tuple[Callable[[KnownAnswers], Sheet], ...] = (checks, stickers, mosaics)
    return tuple(sheet for sheet in (make(found) for make in makers) if sheet.rows)


def known_head(found: KnownAnswers) -> str:
    """What the tables are of, in a line."""
    return f"{found.run}: {found.model} on {found.device}"


def strength_words(strength: float) -> str:
    """A strength as people read it."""
    return f"{100 * strength:g} %"


def checks(found: KnownAnswers) -> Sheet:
    """Whether the two nets have learned what they were taught."""
    rows = [
        (
            strength_words(one.strength), str(one.images), percent(one.reliant), percent(one.control),
            "yes" if one.counts else "no",
        )
        for one in found.checks
    ]  # fmt: skip
    return Sheet(
        f"The sticker: what two nets take for {found.target}",
        f"Share of the images with the sticker that each network takes for {found.target}. One network has learned to "
        "decide by the sticker, the other to ignore it. A strength counts if the first network follows the sticker and "
        f"the second does not. {_unasked(found)}",
        ("strength", "images", "net that relies on it", "net that does not", "counts"),
        tuple(rows),
    )


def _unasked(found: KnownAnswers) -> str:
    """What the networks make of images without a sticker."""
    if found.unasked is None:
        return "Images that one of them takes for it without a sticker are left out."
    return (
        f"Without a sticker, one of them takes {percent(found.unasked)} of the images for it. These are left out; if "
        f"they may be more than {100 * UNASKED:g} %, no strength counts."
    )


def stickers(found: KnownAnswers) -> Sheet:
    """How often each explainer's map has its top at the sticker, by strength."""
    counted = [one.strength for one in found.checks if one.counts]
    rows = []
    for layer, explainer in dict.fromkeys((one.layer, one.explainer) for one in _sorted(found.stickers)):
        of = {one.strength: one for one in found.stickers if (one.layer, one.explainer) == (layer, explainer)}
        cells = [_hits(of.get(strength)) for strength in counted]
        rows.append((layer, short(explainer), *cells, down_to(found, explainer, layer)))
    return Sheet(
        "The sticker: does the map find it?",
        "Number of images in which the largest value of the map is on the sticker, in the network that decides by it / "
        "in the network that ignores it. A map that shows what its network looks at finds it in the first one only. "
        "Found: in at least half of the images, beyond chance and better than every row that knows no model; down to a "
        "strength: at that one and every stronger one.",
        ("layer", "explainer", *(strength_words(each) for each in counted), "found down to"),
        tuple(rows),
    )


def _hits(one: StickerScore | None) -> str:
    if one is None:
        return NOTHING
    hits, control = (round(each.value * one.images) for each in (one.hits, one.hits_control))
    return f"{hits} / {control} of {one.images}"


def down_to(found: KnownAnswers, explainer: str, layer: str) -> str:
    """The weakest strength that an explainer finds, as it finds every stronger one."""
    if explainer in BASELINES:
        return FREE
    weakest = found.weakest(explainer, layer)
    if weakest is not None:
        return strength_words(weakest)
    rows = [one for one in found.stickers if (one.explainer, one.layer) == (explainer, layer)]
    if any(one.finds for one in rows):
        return WEAK
    return SELDOM if any(one.claim.above for one in rows) else "not found"


def mosaics(found: KnownAnswers) -> Sheet:
    """How much of a class's map lies on the image of that class."""
    rows = []
    for one in _sorted(found.mosaic_scores):
        gain = figure(one.claim.gain, "+.2f") if one.claim.knows_model else NOTHING
        name, share = short(one.explainer), figure(one.share)
        rows.append((one.layer, name, str(one.mosaics), share, gain, reading(one.claim)))
    top = f"; {percent(found.top_four)} of a mosaic's classes are among the net's first four" if found.top_four else ""
    return Sheet(
        "The mosaic: does the map of a class lie on the image of that class?",
        "Share of a map's positive values on the right one of four images; the mosaic has an edge of "
        f"{found.mosaic_pixels} pixels, chance is 0.25{top}. The gain is over the best row that knows no model; its "
        "interval has the level at which all gains of the table hold together.",
        ("layer", "explainer", "mosaics", "share", "gain", "reading"),
        tuple(rows),
    )


def reading(claim: Claim) -> str:
    """What may be said of a gain."""
    if not claim.knows_model:
        return FREE
    return "above" if claim.above else NO_EVIDENCE


def _sorted(rows: Sequence[Row]) -> list[Row]:
    """Layer by layer, the rows that know no model behind the explainers."""
    layers = list(dict.fromkeys(one.layer for one in rows))
    return sorted(rows, key=lambda one: (layers.index(one.layer), not one.claim.knows_model))

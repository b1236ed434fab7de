"""What tests with a known answer say of explainers, as plain values. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile

from bench.schema.page import Estimate

KNOWN_ANSWERS_SCHEMA = 1
OFTEN = (
    0.5  # share of the images from which a map is said to find something, beyond what it shows where there is nothing
)
UNASKED = 0.25  # most of the images that one of two nets may take for the sticker's class though they bear none


@dataclass(frozen=True)
class Claim:
    """How far a score lies above what it is held against, and what may be said of it.

    Attributes:
        gain: the mean of the differences, image by image, at the level at which the claim holds among all of its table.
        p_value: two-sided, adjusted for all claims of its table (Holm).
        knows_model: False for a row that no model has a part in, of which nothing good is ever said.
    """

    gain: Estimate | None
    p_value: float
    knows_model: bool = True

    @property
    def above(self) -> bool:
        """Whether it is above, beyond chance."""
        return self.knows_model and self.gain is not None and self.gain.low > 0


@dataclass(frozen=True)
class StickerCheck:
    """Whether two nets have learned of a sticker of one strength what they were taught.

    Attributes:
        strength: share of the sticker in the pixels that it covers.
        images: test images of other classes, which both nets take for another class without it.
        reliant, control: share that the net takes for the sticker's class with it.
        counts: whether the one follows the sticker and the other does not.
    """

    strength: float
    images: int
    reliant: Estimate
    control: Estimate
    counts: bool


@dataclass(frozen=True)
class StickerScore:
    """Whether an explainer shows the sticker in the net that relies on it, and not in the one that does not.

    Attributes:
        images: those that the one net takes for the sticker's class, and the other does not.
        rank, rank_control: mean share of the other cells that are below the sticker's in the map; 0.5 is chance.
        hits, hits_control: share of the images in which the sticker's cell alone is the top.
        rank_gain: rank minus rank_control, image by image.
        claim: on the hits of the one net minus those of the other, over those of the best row that knows no model.
    """

    explainer: str
    layer: str
    strength: float
    images: int
    rank: Estimate | None
    rank_control: Estimate | None
    hits: Estimate
    hits_control: Estimate
    rank_gain: Estimate | None
    claim: Claim

    @property
    def finds(self) -> bool:
        """Whether it finds the sticker in at least half of the images beyond chance."""
        return self.claim.above and self.claim.gain is not None and self.claim.gain.value >= OFTEN


@dataclass(frozen=True)
class MosaicScore:
    """How much of the map of a class lies on the image of that class, in mosaics of four.

    Attributes:
        mosaics: that it is known of.
        empty: maps without a positive value, which are left out.
        share: of the positive values; chance is a quarter.
        claim: on the share over that of the best row that knows no model.
    """

    explainer: str
    layer: str
    mosaics: int
    empty: int
    share: Estimate | None
    claim: Claim


@dataclass(frozen=True)
class KnownAnswers:
    """All that was found for one run.

    Attributes:
        target: the class that the sticker stands for.
        places: of each explained image with a sticker its id in the cells, and the sticker's row, column and edge in
            pixels.
        unasked: share of the test images of other classes that one of the two nets takes for the sticker's class though
            they bear none; these are left out. None in scores of before.
        checks: by strength, the strongest first.
        mosaics: how many were made; 0 where there were not enough images that the net is right and sure of.
        mosaic_pixels: an edge of a mosaic; that of one image where the net takes no other size.
        top_four: share of a mosaic's classes among the net's four most probable.
        notes: what had to be left out, and why.
    """

    schema: int
    run: str
    checkpoint: str
    model: str
    device: str
    versions: Mapping[str, str]
    created: str
    target: str
    pixels: int
    places: tuple[tuple[int, int, int, int], ...] = ()
    unasked: Estimate | None = None
    checks: tuple[StickerCheck, ...] = ()
    stickers: tuple[StickerScore, ...] = ()
    mosaics: int = 0
    mosaic_pixels: int = 0
    top_four: Estimate | None = None
    mosaic_scores: tuple[MosaicScore, ...] = ()
    notes: tuple[str, ...] = ()

    def weakest(self, explainer: str, layer: str) -> float | None:
        """The weakest strength that an explainer finds there, as it finds every stronger one; None for none."""
        rows = [one for one in self.stickers if (one.explainer, one.layer) == (explainer, layer)]
        found = takewhile(lambda one: one.finds, sorted(rows, key=lambda one: -one.strength))
        return min((one.strength for one in found), default=None)

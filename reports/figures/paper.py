"""What all figures share: widths of paper columns, type of 7 pt, a caption inside, the same bytes twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from bench.errors import UsageError
from bench.whole_file import replacing

from ..charts import THEMES
from ..contact_strips import Picture
from ..filters import NBSP, one_line

WIDTHS = {"one": 3.5, "two": 7.2}  # inches: of a column, and of both
FORMATS = (".png", ".pdf", ".svg")
DPI = 300
TEXT = 7.0  # points at print size: no text is smaller
LINE = 1.3 * TEXT / 72  # inches from one line of text to the next
MARGIN, GAP = 0.06, 0.04  # inches
INK, SOFT, FAINT = THEMES["light"].ink, THEMES["light"].soft, THEMES["light"].line
ACCENTS = THEMES["light"].colours
WRONG = "#a3372a"
FONT = "DejaVu Sans"  # which matplotlib brings along, so that a figure is the same on every machine

# Where a user's own matplotlibrc says otherwise, too. Text in an SVG is drawn, or its width would be a guess.
SETTINGS: Any = {
    "font.family": FONT,
    "font.size": TEXT,
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "axes.linewidth": 0.6,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "text.parse_math": False,  # names may hold dollar signs
    "text.usetex": False,
    "svg.hashsalt": "bench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "image.composite_image": False,
    "savefig.facecolor": "white",
    "savefig.bbox": None,
}
# Without dates and versions the same figure has the same bytes.
METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}


@dataclass(frozen=True)
class Look:
    """How a figure looks.

    Attributes:
        width: `one` or `two` columns of a paper.
        colours: matplotlib's name of the colours of maps.
        captions: whether it says what it shows.
    """

    width: str = "two"
    colours: str = "viridis"
    captions: bool = True

    @property
    def inches(self) -> float:
        """How wide it is."""
        return WIDTHS[self.width]


class Sheet:
    """A figure whose parts are placed in inches from its top left corner, its caption below them.

    Args:
        height: of all but the caption.
    """

    def __init__(self, look: Look, height: float, caption: str) -> None:
        self.width = look.inches
        lines = wrapped(caption, self.width - 2 * MARGIN) if look.captions else []
        self.height = height + (len(lines) * LINE + 2 * MARGIN if lines else MARGIN)
        self.figure = Figure(figsize=(self.width, self.height))
        FigureCanvasAgg(self.figure)
        for place, line in enumerate(lines):
            self.text(MARGIN, height + MARGIN + place * LINE, line, color=SOFT)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes of this size."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    @cached_property
    def plane(self) -> Axes:
        """The whole sheet as axes in inches, for pictures: axes for each of hundreds would take seconds."""
        plane = self.axes(0, 0, self.width, self.height)
        plane.set(xlim=(0, self.width), ylim=(self.height, 0))
        plane.set_axis_off()
        plane.autoscale(enable=False)
        return plane

    def picture(self, left: float, top: float, side: float, pixels: Picture | str) -> None:
        """A square picture, its pixels as squares: (h, w, 3) in 0..1 or of 8 bits; or words in a frame."""
        if isinstance(pixels, str):
            self.plane.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=FAINT, linewidth=0.6))
            middle = (left + side / 2, top + side / 2)
            self.text(*middle, pixels, ha="center", va="center", color=SOFT, linespacing=1.1)
            return
        box = (left, left + side, top + side, top)
        self.plane.imshow(pixels, extent=box, interpolation="nearest", aspect="auto", vmin=0, vmax=1)

    def text(self, left: float, top: float, words: str, **how: Any) -> None:  # noqa: ANN401 (matplotlib's own)
        """Text whose top left corner is there, unless `ha` and `va` say otherwise."""
        style = {"va": "top", "ha": "left", "fontsize": TEXT, **how}
        self.figure.text(left / self.width, 1 - top / self.height, words, **style)


def check_format(path: Path, flag: str = "--to") -> None:
    """UsageError for a file that is none of FORMATS."""
    if path.suffix.lower() not in FORMATS:
        words = f"a figure ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, not {path.name!r}"
        raise UsageError(words, try_=f"{flag} {path.with_suffix('.png').name}")


def save(draw: Callable[[], Sheet], path: Path) -> None:
    """Draw and write a figure; the format is that of the file's name."""
    with replacing(path) as file:
        write(draw, {path.suffix.lower(): file})


def write(draw: Callable[[], Sheet], files: dict[str, IO[bytes]]) -> None:
    """Draw a figure once and write it to files, by their suffix."""
    with rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # what the font lacks is drawn as a box
        figure = draw().figure
        for suffix, file in files.items():
            figure.savefig(file, format=suffix[1:], dpi=DPI, metadata=METADATA[suffix])


# --- text ---------------------------------------------------------------------------------------------------


def text_width(words: str, size: float = TEXT, **font: Any) -> float:  # noqa: ANN401 (matplotlib's own)
    """Inches that a line of text takes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        width: float = text_to_path.get_text_width_height_descent(
            words, FontProperties(family=FONT, size=size, **font), ismath=False
        )[0]
    return width / 72


def fitted(words: str, room: float) -> str:
    """One line no wider than `room` inches: other people's text, cut where it is longer."""
    words, room = one_line(words)[:200], room + 1e-6  # what was measured for it fits
    if text_width(words) <= room:
        return words
    low, high = 0, len(words)  # letters that fit, and that do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if text_width(f"{words[:middle].rstrip()}…") <= room else (low, middle)
    return f"{words[:low].rstrip()}…"


def wrapped(words: str, room: float) -> list[str]:
    """Text in lines no wider than `room` inches."""
    lines: list[str] = []
    for word in filter(None, (NBSP.join(map(one_line, each.split(NBSP))) for each in words.split(" "))):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word if text_width(word) <= room else fitted(word, room))
    return lines


def longest(words: Sequence[str], most: float) -> float:
    """Inches that the widest of some lines takes, `most` at most."""
    return min(most, max(map(text_width, words), default=0.0))

"""How figures read: one place for digits, units, dashes and signs."""

import math
import re
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

NONE = "–"  # what was never measured
NBSP = "\u00a0"


def term_id(word: str) -> str:
    """Where a word of the glossary stands on a page."""
    return "word-" + "".join(c if c.isalnum() else "-" for c in word.lower())


def percent(value: float | None, digits: int = 2) -> str:
    """A share in 0..1 as a percentage with its unit; an en dash for None."""
    return NONE if value is None else f"{100 * value:.{digits}f}{NBSP}%"


def points(value: float) -> str:
    """A difference of two shares in percentage points, with a real minus sign and always a sign."""
    digits = 2 if value == 0 or abs(value) >= 5e-5 else 4  # an end that is not 0 does not read as 0
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def level(value: float) -> str:
    """The level of an interval: `95 %`, `98.33 %`."""
    return f"{100 * value:.4g}{NBSP}%"


def count(value: int | None) -> str:
    """A whole number with thousands separators; an en dash for None."""
    return NONE if value is None else f"{value:,}"


def whole(value: float | None) -> str:
    """A figure of which only the whole matters, such as megabytes; an en dash for None."""
    return NONE if value is None or not math.isfinite(value) else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """A rate or a duration with three or four significant digits; an en dash for None."""
    if value is None or not math.isfinite(value):
        return NONE
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def small(value: float | None) -> str:
    """A small positive figure with two significant digits, such as 3.9e-7 or 0.57; an en dash for None."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.2g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def moment(iso: str) -> str:
    """An ISO time in UTC, to the minute; any other text as it is."""
    return f"{iso[:10]} {iso[11:16]} UTC" if iso.endswith(("Z", "+00:00")) and len(iso) >= 17 else iso


def p_value(value: float) -> str:
    """A p-value; below one in a thousand only that."""
    return "<" + NBSP + "0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def correlation(value: float | None) -> str:
    """A correlation with three decimals; an en dash for None."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.3f}".replace("-", "−")


def breakable(text: str) -> Markup:
    """A name that may go on in the next line behind a mark in it, as in `torchvision_resnet18`."""
    return Markup(re.sub(r"([_:./-])(?=\w)", r"\1<wbr>", str(escape(text))))


def one_line(text: str) -> str:
    """Other people's text without line ends, control characters and characters that turn the writing direction."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def plural(number: int, noun: str, many: str = "") -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The 10th, 50th and 90th percentile, between neighbours in proportion; of all but the first of several values."""
    low, middle, high = np.quantile(values[1:] or values, (0.1, 0.5, 0.9)).tolist()
    return low, middle, high

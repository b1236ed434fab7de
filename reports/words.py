"""How figures read: one place for digits, units, dashes and signs."""

from __future__ import annotations

import math

NONE = "–"  # what was never measured
NBSP = "\u00a0"


def percent(value: float | None, digits: int = 2) -> str:
    """A share in 0..1 as a percentage with its unit; an en dash for None."""
    return NONE if value is None else f"{100 * value:.{digits}f}{NBSP}%"


def points(value: float) -> str:
    """A difference of two shares in percentage points, with a real minus sign and always a sign."""
    return f"{100 * value:+.2f}".replace("-", "−")


def count(value: int | None) -> str:
    """A whole number with thousands separators; an en dash for None."""
    return NONE if value is None else f"{value:,}"


def rate(value: float | None) -> str:
    """A rate or a duration with three or four significant digits; an en dash for None."""
    if value is None or not math.isfinite(value):
        return NONE
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def per_second(milliseconds: float | None) -> str:
    """Images a second of a call that takes so many milliseconds an image."""
    return rate(1000 / milliseconds) if milliseconds else NONE


def small(value: float | None) -> str:
    """A small positive figure with two significant digits, such as 3.9e-7 or 0.57; an en dash for None."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.2g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def p_value(value: float) -> str:
    """A p-value; below one in a thousand only that."""
    return "<" + NBSP + "0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def correlation(value: float | None) -> str:
    """A correlation with three decimals; an en dash for None."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.3f}".replace("-", "−")


def plural(number: int, noun: str, many: str = "") -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])

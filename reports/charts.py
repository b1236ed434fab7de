"""Drawings as SVG by matplotlib, each once for light and once for dark; and axes for interval bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.schema.page import CalibrationBin, EpochPoint, Estimate

WIDTH, HEIGHT = 560, 260
_FAMILY = "Inter, system-ui, 'Segoe UI', sans-serif"


@dataclass(frozen=True)
class Theme:
    """Colours of a drawing: those that the style sheet calls by the same names."""

    ink: str
    soft: str
    line: str
    colours: tuple[str, ...]


THEMES = {
    "light": Theme("#1c1e22", "#5b5f66", "#e3e0d9", ("#0a6670", "#a8500c", "#6547ad", "#235ea6", "#9c2f74", "#665c4f")),
    "dark": Theme("#e9e7e2", "#a6a9ae", "#2f3236", ("#5fc6ce", "#efa566", "#bba6f3", "#82b4ef", "#ec92c7", "#c0b6a7")),
}


@dataclass(frozen=True)
class Chart:
    """One drawing in both themes, with what its lines are and a sentence for those who do not see it."""

    title: str
    unit: str
    light: bytes
    dark: bytes
    lines: tuple[tuple[str, int, bool, str], ...]
    summary: str
    height: int = HEIGHT


@dataclass(frozen=True)
class Series:
    """Values of one quantity over epochs, before it is drawn; `colour` counts from 1."""

    label: str
    colour: int
    dashed: bool
    values: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Axis:
    """A common axis for interval bars, from `low` to `high` in the unit of the estimates."""

    low: float
    high: float

    @property
    def digits(self) -> int:
        """Decimals that both ends have in per cent."""
        ends = (100 * self.low, 100 * self.high)
        return next((n for n in range(3) if all(abs(round(each, n) - each) < 1e-6 for each in ends)), 3)

    def at(self, value: float) -> float:
        """Where a value lies, in 0..100."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)


def axis_of(estimates: Iterable[Estimate]) -> Axis:
    """The axis that holds every interval of some shares, rounded outwards, never beyond 0..1."""
    seen = list(estimates)
    low, high = min((e.low for e in seen), default=0.0), max((e.high for e in seen), default=1.0)
    step = _nice_step((high - low) or 0.1, 4)
    low, high = max(0.0, math.floor(low / step) * step), min(1.0, math.ceil(high / step) * step)
    return Axis(low, high) if high > low else Axis(max(0.0, low - step), min(1.0, high + step))


def _nice_step(span: float, parts: int) -> float:
    raw = span / parts
    power = 10.0 ** math.floor(math.log10(raw))
    return float(next(m for m in (1, 2, 5, 10) if m * power >= raw - 1e-12) * power)


# --- learning curves ----------------------------------------------------------------------------------------


def series_of(curve: Sequence[EpochPoint], quantity: str, *, label: str = "", colour: int = 1) -> list[Series]:
    """Training (dashed) and validation (solid) of `loss` or `accuracy`; a part without values is left out."""
    parts = [("train", "training", True), ("val", "validation", False)]
    found = []
    for field, word, dashed in parts:
        points = ((point.epoch, getattr(point, f"{field}_{quantity}")) for point in curve)
        if values := tuple((epoch, v) for epoch, v in points if v is not None and math.isfinite(v)):
            found.append(Series(label or word, colour, dashed, values))
    return found


@lru_cache(maxsize=64)
def curve_chart(series: tuple[Series, ...], *, title: str, percent: bool) -> Chart | None:
    """Curves over epochs, or None when there is no value to draw; shares (`percent`) are shown in per cent."""
    if not series:
        return None

    factor, digits, sign = (100.0, 2, " %") if percent else (1.0, 3, "")

    def draw(axes: Axes, theme: Theme) -> None:
        for one in series:
            epochs, values = [x for x, _ in one.values], [factor * y for _, y in one.values]
            (line,) = axes.plot(epochs, values, color=theme.colours[one.colour - 1], linewidth=1.8, marker="o")
            line.set_markersize(7 if len(epochs) == 1 else 2.6)
            if one.dashed:  # training: told apart by form as well, for a single epoch is no line
                line.set_linestyle((0, (4, 3)))
                line.set_markerfacecolor("none")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        last = max(x for one in series for x, _ in one.values)
        if last == 1:
            axes.set(xlim=(0.5, 1.5), xticks=[1])
        values = [factor * y for one in series for _, y in one.values]
        axes.set_ylim(*((0.0, 100.0) if percent and last == 1 else _bounds(values, percent=percent)))

    told = tuple((s.label, s.colour, s.dashed, f"{factor * s.values[-1][1]:.{digits}f}{sign}") for s in series)
    summary = "; ".join(f"{label} ends at {last}" for label, _, _, last in told)
    return drawn(draw, title, "%" if percent else "nats", told, summary)


def _bounds(values: Sequence[float], *, percent: bool) -> tuple[float, float]:
    """Losses are drawn from 0; shares from their own least value, but never a span so narrow that noise looks large."""
    if not percent:
        return 0.0, 1.06 * max(values) or 1.0
    middle = (min(values) + max(values)) / 2
    return max(0.0, min(*values, middle - 5) - 1), min(101.0, max(*values, middle + 5) + 1)


# --- calibration --------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def calibration_chart(bins: tuple[CalibrationBin, ...]) -> Chart | None:
    """The share that is right over the mean highest probability of each bin; the diagonal is a calibrated model."""
    if not bins:
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot((0, 1), (0, 1), color=theme.soft, linewidth=0.9, linestyle=(0, (1, 2)))
        low, high = [each.low for each in bins], [each.high for each in bins]
        axes.vlines([each.confidence for each in bins], low, high, color=theme.colours[0], linewidth=1.4, alpha=0.6)
        places, shares = [each.confidence for each in bins], [each.correct / each.total for each in bins]
        axes.plot(places, shares, color=theme.colours[0], marker="o", markersize=4, linewidth=1.2)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="highest probability, mean of the bin")

    worst = max(bins, key=lambda each: each.total)
    summary = (
        f"{len(bins)} bins; of the largest, {worst.total:,} images, {100 * worst.correct / worst.total:.1f} % are "
        f"right at a mean probability of {worst.confidence:.3f}"
    )
    return drawn(draw, "calibration", "share right", (), summary)


# --- drawing ------------------------------------------------------------------------------------------------


def drawn(
    draw: Callable[[Axes, Theme], None],
    title: str,
    unit: str,
    lines: tuple[tuple[str, int, bool, str], ...],
    summary: str,
    height: int = HEIGHT,
) -> Chart:
    """A drawing in both themes."""
    light, dark = (_svg(draw, theme, height) for theme in THEMES.values())
    return Chart(title, unit, light, dark, lines, summary, height)


def _svg(draw: Callable[[Axes, Theme], None], theme: Theme, height: int) -> bytes:
    """One drawing; the same values give the same bytes."""
    settings: Any = {
        "svg.hashsalt": "bench",
        "svg.fonttype": "none",
        "font.size": 12,
        "font.sans-serif": ["DejaVu Sans"],
    }
    with rc_context(settings):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes, theme)
        axes.grid(axis="both", color=theme.line, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=theme.soft, length=0, labelsize=12)
        axes.xaxis.label.set_color(theme.soft)
        file = BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return file.getvalue().replace(b"'DejaVu Sans'", _FAMILY.encode())

"""Geometry of the drawings: plain numbers that the templates turn into SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.views import EpochPoint, Estimate

WIDTH, HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 16, 44


@dataclass(frozen=True)
class Tick:
    """A mark at `at` (user units along its axis) and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One curve: points in user units and its last value in words."""

    label: str
    colour: int
    dashed: bool
    points: tuple[tuple[float, float], ...]
    last: str

    @property
    def path(self) -> str:
        """The points as SVG wants them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class Chart:
    """A drawing of curves over epochs with both axes, and a sentence for those who do not see it."""

    title: str
    unit: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    summary: str
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


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


def series_of(curve: Sequence[EpochPoint], quantity: str, *, label: str = "", colour: int = 1) -> list[Series]:
    """Training (dashed) and validation (solid) of `loss` or `accuracy`; a part without values is left out."""
    parts = [("train", "training", True), ("val", "validation", False)]
    found = []
    for field, word, dashed in parts:
        values = tuple((p.epoch, v) for p in curve if (v := getattr(p, f"{field}_{quantity}")) is not None)
        finite = tuple((epoch, v) for epoch, v in values if math.isfinite(v))
        if finite:
            found.append(Series(label or word, colour, dashed, finite))
    return found


def curve_chart(series: Sequence[Series], *, title: str, percent: bool) -> Chart | None:
    """Curves over epochs, or None when there is no value to draw; shares (`percent`) are shown in per cent."""
    if not series:
        return None
    factor = 100.0 if percent else 1.0
    epochs = [epoch for one in series for epoch, _ in one.values]
    values = [factor * value for one in series for _, value in one.values]
    first, last = min(epochs), max(epochs)
    ticks = _ticks(*_bounds(values, percent), limit=100.0 if percent else math.inf)
    low, high = ticks[0], ticks[-1]

    def place(epoch: float, value: float) -> tuple[float, float]:
        along = 0.5 if first == last else (epoch - first) / (last - first)
        up = (value - low) / (high - low)
        return _LEFT + along * (WIDTH - _RIGHT - _LEFT), HEIGHT - _BOTTOM - up * (HEIGHT - _BOTTOM - _TOP)

    drawn = [tuple(place(epoch, factor * value) for epoch, value in one.values) for one in series]
    lines = tuple(
        Line(one.label, one.colour, one.dashed, points, _figure(factor * one.values[-1][1], percent))
        for one, points in zip(series, drawn, strict=True)
    )
    decimals = _decimals(ticks)
    return Chart(
        title=title,
        unit="%" if percent else "nats",
        x_ticks=tuple(Tick(place(epoch, low)[0], str(epoch)) for epoch in _epoch_ticks(first, last)),
        y_ticks=tuple(Tick(place(first, value)[1], f"{value:.{decimals}f}") for value in ticks),
        lines=lines,
        summary="; ".join(f"{line.label} ends at {line.last}" for line in lines),
    )


def _bounds(values: Sequence[float], percent: bool) -> tuple[float, float]:
    """Losses are drawn from 0; shares from their own least value, but never a span so narrow that noise looks large."""
    if not percent:
        return 0.0, max(values)
    middle = (min(values) + max(values)) / 2
    return max(0.0, min(*values, middle - 5)), min(100.0, max(*values, middle + 5))


def _figure(value: float, percent: bool) -> str:
    return f"{value:.2f} %" if percent else f"{value:.3f}"


def _nice_step(span: float, parts: int) -> float:
    raw = span / parts
    power = 10.0 ** math.floor(math.log10(raw))
    return float(next(m for m in (1, 2, 5, 10) if m * power >= raw - 1e-12) * power)


def _ticks(low: float, high: float, *, limit: float) -> list[float]:
    """Round values that enclose low..high, at least two, none above `limit`."""
    span = high - low
    step = _nice_step(span if span > 1e-9 else max(abs(high), 1.0) / 5, 4)
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    end = max(end, start + 1)
    if end * step > limit + 1e-9:
        end = math.floor(limit / step + 1e-9)
        start = min(start, end - 1)
    return [k * step for k in range(start, end + 1)]


def _decimals(ticks: Sequence[float]) -> int:
    return max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))


def _epoch_ticks(first: int, last: int) -> list[int]:
    step = max(1, round(_nice_step(max(last - first, 1), 6)))
    inner = [epoch for epoch in range(first, last) if epoch % step == 0 and last - epoch > step / 2]
    return sorted({first, *(epoch for epoch in inner if epoch - first > step / 2), last})

"""Every rate and every ratio of a timing as a dot, a line for each piece of work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import median

from matplotlib.axes import Axes

from bench.schema.page import ArmSpeed, Rates

from .charts import Chart, Theme, drawn

TOP, LINE = 70, 34  # pixels of a drawing, and of each of its lines


# A piece of work: its name, warm-up, other rates, their median, and which colour they have (None for grey).
Line = tuple[str, Sequence[float], Sequence[float], float, int | None]


@lru_cache(maxsize=16)
def timing_chart(timings: tuple[Rates, ...]) -> Chart | None:
    """Rates noted while work was done; the first is hollow, since it warms up, and the bar is the others' median."""
    return _rates_chart(
        [
            (one.what, one.values[:1], one.values[1:], median(one.values[1:] or one.values), one.run % 6)
            for one in timings
        ],
        "timing",
    )


@lru_cache(maxsize=16)
def rounds_chart(speeds: tuple[ArmSpeed, ...], name: str) -> Chart | None:
    """The rate of every round; warm-up hollow; grey where the warm-up never settled; the bar is the median."""
    lines = [(one.arm.name, one.warm_up, one.rounds, one.arm.rate, _colour(one)) for one in speeds]
    return _rates_chart(lines, name)


def _rates_chart(lines: Sequence[Line], title: str) -> Chart | None:
    if not lines:
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        for place, (_, warm_up, rates, middle, colour) in enumerate(lines):
            _hollow(axes, place, warm_up, theme)
            _dots(axes, place, rates, colour, theme)
            _bar(axes, place, middle, theme)
        _lines(axes, len(lines), "images a second")

    summary = "; ".join(f"{name}: median {middle:.1f}" for name, *_, middle, _ in lines)
    return drawn(draw, title, "images a second", (), summary, TOP + LINE * len(lines))


@lru_cache(maxsize=16)
def ratios_chart(speeds: tuple[ArmSpeed, ...], name: str) -> Chart | None:
    """The ratio of every round to the baseline's, with the interval of their median; a line where both are as fast.

    Lines are those of `rounds_chart`; a baseline's is empty. None where nothing is compared.
    """
    if not any(one.ratios for one in speeds):
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        axes.axvline(1.0, color=theme.soft, linewidth=0.9, linestyle=(0, (1, 2)))
        for line, one in enumerate(speeds):
            ratio = one.arm.ratio
            _dots(axes, line, one.ratios, _colour(one), theme)
            if ratio and ratio.low is not None and ratio.high is not None:
                axes.plot((ratio.low, ratio.high), (line, line), color=theme.ink, linewidth=1.4)
            if ratio:
                _bar(axes, line, ratio.value, theme)
        _lines(axes, len(speeds), "times the baseline's rate, round by round", left=None)

    summary = "; ".join(
        f"{one.arm.name}: {one.arm.ratio.value:.3f} of {one.arm.ratio.baseline}" for one in speeds if one.arm.ratio
    )
    return drawn(draw, name, "times the baseline", (), summary, TOP + LINE * len(speeds))


def _colour(one: ArmSpeed) -> int | None:
    return one.runs[0] % 6 if one.arm.settled else None


def _dots(axes: Axes, line: int, values: Sequence[float], colour: int | None, theme: Theme) -> None:
    drawn_in = theme.soft if colour is None else theme.colours[colour]
    axes.plot(values, [line] * len(values), "o", color=drawn_in, alpha=0.65, markersize=4, markeredgewidth=0)


def _hollow(axes: Axes, line: int, values: Sequence[float], theme: Theme) -> None:
    axes.plot(values, [line] * len(values), "o", markerfacecolor="none", color=theme.soft, markersize=4)


def _bar(axes: Axes, line: int, middle: float, theme: Theme) -> None:
    axes.plot((middle, middle), (line - 0.3, line + 0.3), color=theme.ink, linewidth=1.4)


def _lines(axes: Axes, count: int, label: str, left: float | None = 0) -> None:
    """One line for each piece of work, by its number in the table beside, the first on top."""
    axes.set(ylim=(count - 0.5, -0.5), yticks=range(count), xlabel=label)
    axes.set_yticklabels([str(line + 1) for line in range(count)])
    if left is not None:
        axes.set_xlim(left=left)

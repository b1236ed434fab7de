"""Every rate and every ratio of a timing as a dot, a line for each piece of work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from statistics import median

from matplotlib.axes import Axes

from bench.schema.page import ArmSpeed, Rates

from .charts import Chart, Theme, drawn

TOP, LINE = 70, 34  # pixels of a drawing, and of each of its lines


@lru_cache(maxsize=16)
def timing_chart(timings: tuple[Rates, ...]) -> Chart | None:
    """Rates noted while work was done; the first is hollow, since it warms up, and the bar is the others' median."""
    if not timings:
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        for line, one in enumerate(timings):
            colour, rest = theme.colours[one.run % 6], one.values[1:]
            _dots(axes, line, rest, colour)
            _hollow(axes, line, one.values[:1], theme)
            _bar(axes, line, median(rest or one.values), theme)
        _lines(axes, len(timings), "images a second")

    summary = "; ".join(f"{one.what}: median {median(one.values[1:] or one.values):.1f}" for one in timings)
    return drawn(draw, "timing", "images a second", (), summary, TOP + LINE * len(timings))


@lru_cache(maxsize=16)
def rounds_chart(speeds: tuple[ArmSpeed, ...], name: str) -> Chart | None:
    """The rate of every round; warm-up hollow; grey where the warm-up never settled; the bar is the median."""
    if not speeds:
        return None

    def draw(axes: Axes, theme: Theme) -> None:
        for line, one in enumerate(speeds):
            _hollow(axes, line, one.warm_up, theme)
            _dots(axes, line, one.rounds, _colour(one, theme))
            _bar(axes, line, one.arm.rate, theme)
        _lines(axes, len(speeds), "images a second")

    summary = "; ".join(f"{one.arm.name}: median {one.arm.rate:.1f}" for one in speeds)
    return drawn(draw, name, "images a second", (), summary, TOP + LINE * len(speeds))


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
            _dots(axes, line, one.ratios, _colour(one, theme))
            if ratio and ratio.low is not None and ratio.high is not None:
                axes.plot((ratio.low, ratio.high), (line, line), color=theme.ink, linewidth=1.4)
            if ratio:
                _bar(axes, line, ratio.value, theme)
        _lines(axes, len(speeds), "times the baseline's rate, round by round", left=None)

    summary = "; ".join(
        f"{one.arm.name}: {one.arm.ratio.value:.3f} of {one.arm.ratio.baseline}" for one in speeds if one.arm.ratio
    )
    return drawn(draw, name, "times the baseline", (), summary, TOP + LINE * len(speeds))


def _colour(one: ArmSpeed, theme: Theme) -> str:
    return theme.colours[one.runs[0] % 6] if one.arm.settled else theme.soft


def _dots(axes: Axes, line: int, values: Sequence[float], colour: str) -> None:
    axes.plot(values, [line] * len(values), "o", color=colour, alpha=0.65, markersize=4, markeredgewidth=0)


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

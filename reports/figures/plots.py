"""Figures of numbers: learning curves, confusion, classes, calibration, and the curve of a range test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.schema.page import EpochPoint, Page, RunView

from ..filters import percent
from .paper import ACCENTS, FAINT, GAP, INK, LINE, MARGIN, SOFT, TEXT, WRONG, Look, Sheet, fitted, longest, text_width

MOST_ROWS = 40  # classes of one figure
MOST_PAIRS = 20
SMALLEST = 0.25  # inches of a cell of the confusion table: its figures stay readable
TICKS = 0.32  # inches below axes: figures and a label
TEST = ACCENTS[1]


def _about(page: Page) -> str:
    run = page.runs[0]
    return f"{run.model} on {run.data} (run {run.run})"


def _plain(axes: Axes, *, grid: Literal["both", "x"] = "both") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


# --- learning curves ------------------------------------------------------------------------------------------


def curves(page: Page, look: Look) -> Sheet:
    """Loss and accuracy over the epochs, training and validation told apart by line and mark, and the test at the end.

    One epoch is a pair of points.
    """
    run, across = page.runs[0], 2 if look.width == "two" else 1
    left, gap, tall = 0.42, 0.5, 1.9
    wide = (look.inches - across * left - (across - 1) * (gap - left) - 2 * MARGIN) / across
    head = 1.6 * LINE
    step = head + tall + TICKS
    last = run.curve[-1]
    measured = f"; training images are augmented, and counted while the weights still move. After epoch {last.epoch}, "
    words = (
        f"Learning curves of {_about(page)}{measured}{percent(last.train_accuracy)} of the training images"
        + (f", {percent(last.val_accuracy)} of the validation images" if last.val_accuracy is not None else "")
        + f" and {percent(run.accuracy.value)} of {run.total:,} test images are right (95 % interval "
        f"{percent(run.accuracy.low)} to {percent(run.accuracy.high)}; drawn at the last epoch)."
    )
    sheet = Sheet(look, MARGIN + (step if across == 2 else 2 * step + 2 * GAP), words)
    for number, quantity in enumerate(("loss", "accuracy")):
        x = MARGIN + left + (number * (wide + gap) if across == 2 else 0)
        y = MARGIN + head + (0 if across == 2 else number * (step + 2 * GAP))
        _curve(sheet.axes(x, y, wide, tall), run, quantity, legend=number == 0)
        sheet.text(x, y - head, "loss, nats an image" if quantity == "loss" else "accuracy, %")
    return sheet


def _curve(axes: Axes, run: RunView, quantity: str, *, legend: bool) -> None:
    factor, epochs = (1.0 if quantity == "loss" else 100.0), [point.epoch for point in run.curve]
    kinds: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (
            "train",
            "training",
            {"color": ACCENTS[0], "linestyle": (0, (4, 2)), "marker": "o", "markerfacecolor": "white"},
        ),
        ("val", "validation", {"color": ACCENTS[2], "linestyle": "-", "marker": "s"}),
    )
    for field, words, style in kinds:
        found = _values(run.curve, f"{field}_{quantity}", factor)
        if found:
            size = 5 if len(epochs) == 1 else 3 if len(epochs) <= 40 else 0
            axes.plot(
                *zip(*found, strict=True), label=words, linewidth=1.1, markersize=size, markeredgewidth=0.9, **style
            )
    if quantity == "loss":
        axes.plot(epochs[-1], run.loss, "D", color=TEST, markersize=4, label="test")
    else:
        low, high = (abs(end - run.accuracy.value) for end in (run.accuracy.low, run.accuracy.high))
        axes.errorbar(epochs[-1], factor * run.accuracy.value, [[factor * low], [factor * high]], fmt="D", color=TEST,
                      markersize=4, elinewidth=1, capsize=2, label="test", zorder=5)  # fmt: skip
    _plain(axes)
    axes.set_xlabel("epoch", labelpad=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    room = max(0.6, 0.03 * (epochs[-1] - epochs[0]))
    axes.set_xlim(epochs[0] - room, epochs[-1] + room)
    if quantity == "loss":
        axes.set_ylim(
            bottom=0, top=1.08 * axes.dataLim.y1 if np.isfinite(axes.dataLim.y1) and axes.dataLim.y1 > 0 else 1
        )
    else:
        low = max(0.0, min(axes.dataLim.y0, axes.dataLim.y1 - 10) - 2)
        axes.set_ylim(low, min(101.0, max(axes.dataLim.y1 + 2, low + 10)))
    if legend:
        axes.legend(frameon=False, fontsize=TEXT, loc="best", handlelength=2.6, borderaxespad=0.2, labelspacing=0.3)


def _values(curve: Sequence[EpochPoint], field: str, factor: float) -> list[tuple[int, float]]:
    found = ((point.epoch, getattr(point, field)) for point in curve)
    return [(epoch, factor * value) for epoch, value in found if value is not None and np.isfinite(value)]


def range_test(rates: Sequence[float], losses: Sequence[float], suggestion: float, title: str) -> Sheet:
    """The smoothed loss over the learning rate, with the suggestion marked; losses in nats."""
    look = Look("two")
    sheet = Sheet(look, 3.0, f"Learning-rate range test of {title}; the loss falls fastest at {suggestion:.1e}.")
    axes = sheet.axes(MARGIN + 0.5, MARGIN, look.inches - 0.5 - 3 * MARGIN, 3.0 - MARGIN - TICKS)
    axes.plot(rates, losses, color=ACCENTS[0], linewidth=1.2)
    axes.axvline(suggestion, color=TEST, linewidth=0.9, linestyle="--")
    axes.annotate(f"falls fastest at {suggestion:.1e}", (suggestion, max(losses)), xytext=(-4, -2), ha="right",
                  textcoords="offset points", color=TEST)  # fmt: skip
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss, nats")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # its own would be mathematics
    _plain(axes)
    return sheet


# --- confusion ------------------------------------------------------------------------------------------------


def confusion(page: Page, look: Look) -> Sheet:
    """How often each class was taken for each other; of many classes the pairs that are confused most often."""
    left = longest(page.classes, 1.1) + 3 * GAP
    cell = (look.inches - 2 * MARGIN - left - LINE) / len(page.classes)
    return (
        _matrix(page, look, left, min(0.7, cell)) if cell >= SMALLEST and page.runs[0].confusion else _pairs(page, look)
    )


def _matrix(page: Page, look: Look, left: float, cell: float) -> Sheet:
    run, count, names = page.runs[0], len(page.classes), page.classes
    table = np.array(run.confusion)
    errors = table - np.diag(np.diag(table))
    wide, tall, name = cell * count, min(cell, 0.36) * count, longest(names, 1.1)
    upright = name > cell - GAP
    head = (name if upright else LINE) + 3 * GAP + LINE
    words = (
        f"Confusion of {_about(page)}: {run.total:,} test images by their class (rows) and by what they were taken for "
        f"(columns); {run.correct:,} are right, {run.total - run.correct:,} are errors, tinted the darker the more."
    )
    sheet = Sheet(look, MARGIN + head + tall, words)
    axes = sheet.axes(MARGIN + LINE + left, MARGIN + head, wide, tall)
    tint = LinearSegmentedColormap.from_list("errors", ["#ffffff", WRONG])
    axes.imshow(errors, cmap=tint, vmin=0, vmax=1.25 * max(1, errors.max()), aspect="auto")
    for row, column in np.ndindex(table.shape):
        right, number = row == column, int(table[row, column])
        colour = INK if right else FAINT if not number else "white" if number > 0.7 * errors.max() else INK
        axes.text(column, row, f"{number}", ha="center", va="center", color=colour, fontsize=TEXT,
                  fontweight="bold" if right else "normal")  # fmt: skip
    axes.set_xticks(range(count), [fitted(name, 1.1) for name in names], rotation=90 * upright)
    axes.set_yticks(range(count), [fitted(name, 1.1) for name in names])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_xticks(np.arange(-0.5, count), minor=True)
    axes.set_yticks(np.arange(-0.5, count), minor=True)
    axes.grid(which="minor", color=FAINT, linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    sheet.text(MARGIN + LINE + left + wide / 2, MARGIN, "taken for", color=SOFT, ha="center")
    sheet.text(MARGIN, MARGIN + head + tall / 2, "true class", color=SOFT, va="center", rotation=90)
    return sheet


def _pairs(page: Page, look: Look) -> Sheet:
    run, names = page.runs[0], page.classes
    found = run.most_confused(MOST_PAIRS)
    left, row = 0.55 * look.inches, 1.5 * LINE
    labels = [f"{names[true]} taken for {names[wrong]}" for true, wrong, _ in found]
    if longest(labels, look.inches) > left - 2 * GAP:  # two lines, so that neither name is lost
        row += LINE
        room = left - 2 * GAP
        labels = [f"{fitted(names[true], room)}\n{_taken_for(names[wrong], room)}" for true, wrong, _ in found]
    left = longest([line for label in labels for line in label.split("\n")], left) + 2 * GAP
    words = (
        f"Confusion of {_about(page)}: the {len(found)} most frequent of its {run.total - run.correct:,} errors on "
        f"{run.total:,} test images of {len(names)} classes, with the share of the true class."
    )
    sheet = Sheet(look, MARGIN + max(1, len(found)) * row, words)
    if not found:
        sheet.text(MARGIN, MARGIN, "no errors")
        return sheet
    right = 0.95  # for a number behind the longest bar
    axes = sheet.axes(MARGIN + left, MARGIN, look.inches - 2 * MARGIN - left - right, len(found) * row)
    axes.barh(range(len(found)), [number for *_, number in found], height=0.62, color=ACCENTS[0])
    for at, (true, _, number) in enumerate(found):
        total = max(1, run.per_class[true].total)
        axes.annotate(f"{number:,} of {total:,} ({percent(number / total, 0)})", (number, at), xytext=(3, 0),
                      textcoords="offset points", va="center", annotation_clip=False)  # fmt: skip
    axes.set_yticks(range(len(found)), labels)
    axes.set(ylim=(len(found) - 0.5, -0.5), xticks=(), xlim=(0, found[0][2]))
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    return sheet


def _taken_for(name: str, room: float) -> str:
    """The second line of a pair, the name cut and not the words before it."""
    return f"taken for {fitted(name, room - text_width('taken for '))}"


# --- classes --------------------------------------------------------------------------------------------------


def classes(page: Page, look: Look) -> Sheet:
    """Recall by class with its interval, the lowest first; of many classes the lowest ones."""
    run = page.runs[0]
    known = sorted((row for row in run.per_class if row.total), key=lambda row: row.recall.value)
    rows = known[:MOST_ROWS]
    left = longest([row.name for row in rows], 0.3 * look.inches) + 2 * GAP
    right, row = 0.95, 1.5 * LINE
    which = (
        f"the {len(rows)} lowest of {len(known)} classes" if len(rows) < len(known) else "by class, the lowest first"
    )
    words = (
        f"Recall of {_about(page)}, {which}: the share of a class's test images that were recognised, with its 95 % "
        f"interval; dashed the {percent(run.accuracy.value)} of all {run.total:,} images."
    )
    height = max(1, len(rows)) * row
    sheet = Sheet(look, MARGIN + height + TICKS, words)
    axes = sheet.axes(MARGIN + left, MARGIN, look.inches - 2 * MARGIN - left - right, height)
    places = range(len(rows))
    axes.hlines(places, [100 * one.recall.low for one in rows], [100 * one.recall.high for one in rows],
                color=ACCENTS[0], linewidth=1.2)  # fmt: skip
    axes.plot([100 * one.recall.value for one in rows], places, "o", color=ACCENTS[0], markersize=4)
    axes.axvline(100 * run.accuracy.value, color=TEST, linewidth=0.9, linestyle=(0, (4, 2)))
    for at, one in enumerate(rows):
        axes.annotate(f"{one.correct:,} of {one.total:,}", (1.0, at), xycoords=("axes fraction", "data"), xytext=(4, 0),
                      textcoords="offset points", va="center", color=SOFT, annotation_clip=False)  # fmt: skip
    axes.set_yticks(places, [fitted(one.name, left - 2 * GAP) for one in rows])
    low = 100 * min((one.recall.low for one in rows), default=0)
    high = 100 * max([run.accuracy.value, *(one.recall.high for one in rows)])
    axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(max(0, low - 2), min(101, high + 2)))
    axes.set_xlabel("recall, %", labelpad=1)
    _plain(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    return sheet


# --- calibration ----------------------------------------------------------------------------------------------


def calibration(page: Page, look: Look) -> Sheet:
    """The share that is right over the highest probability, and how many images are how sure."""
    run, beside = page.runs[0], look.width == "two"
    error, floor = run.calibration_error, run.calibration_floor
    off = "" if error is None else f"; expected calibration error {percent(error)}"
    off += "" if floor is None else f", of which chance alone makes {percent(floor)}"
    words = (
        f"Calibration of {_about(page)}: test images in bins by their highest probability, and the share of each bin "
        f"that is right, with 95 % intervals. On the dashed line a model is right as often as it says{off}."
    )
    left, head = 0.45, 1.6 * LINE
    wide = (look.inches - 2 * MARGIN - left * (1 + beside) - 0.1) / (1 + beside)
    tall, low = (2.2, 2.2) if beside else (min(wide, 2.4), 0.7)
    sheet = Sheet(look, MARGIN + head + tall + TICKS + (0 if beside else head + low + GAP), words)
    lefts, tops = (MARGIN + left, look.inches - MARGIN - wide), (MARGIN + head, MARGIN + 2 * head + tall + GAP)
    shares = sheet.axes(lefts[0], tops[0], wide, tall)
    counts = sheet.axes(lefts[beside], tops[not beside], wide, low)
    sheet.text(lefts[0], tops[0] - head, "right, %")
    sheet.text(lefts[beside], tops[not beside] - head, "images")
    sure, total = [100 * each.confidence for each in run.calibration], [each.total for each in run.calibration]
    shares.plot((0, 100), (0, 100), color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)))
    shares.vlines(sure, [100 * each.low for each in run.calibration], [100 * each.high for each in run.calibration],
                  color=ACCENTS[0], linewidth=1.2)  # fmt: skip
    right = [100 * each.correct / each.total for each in run.calibration]
    shares.plot(sure, right, "o-", color=ACCENTS[0], markersize=3.5, linewidth=0.9)
    shares.set_ylim(0, 101)
    counts.vlines(sure, 0, total, color=ACCENTS[0], linewidth=4)
    counts.set_ylim(0, 1.1 * max(total))
    counts.yaxis.set_major_locator(MaxNLocator(5 if beside else 2, integer=True))
    for axes in (shares, counts):
        axes.set_xlim(0, 102)
        _plain(axes)
    counts.set_xlabel("highest probability, mean of the bin, %", labelpad=1)
    if beside:
        shares.set_xlabel("highest probability, mean of the bin, %", labelpad=1)
    else:
        shares.set_xticklabels([])
    return sheet

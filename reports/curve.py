"""The curve of a learning-rate range test, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import UsageError


def rate_figure(path: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float, title: str) -> None:
    """Draw the smoothed loss over the learning rate, with the suggestion marked.

    Args:
        path: .png or .pdf.
        rates, losses: the curve; losses in nats.
        title: shown as it is.

    Raises:
        UsageError: another kind of file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if path.suffix not in (".png", ".pdf"):
        raise UsageError(f"cannot draw a '{path.suffix}' file", try_="--out curve.png or --out curve.pdf")
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="#0b6b74", linewidth=1.6)
    axes.axvline(suggestion, color="#8a5a00", linewidth=1, linestyle="--")
    axes.annotate(f"falls fastest at {suggestion:.1e}", (suggestion, max(losses)), xytext=(-4, -2), ha="right",
                  textcoords="offset points", fontsize=8, color="#8a5a00")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("smoothed training loss, nats")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Software": None} if path.suffix == ".png" else {"CreationDate": None}
    figure.savefig(path, dpi=200, metadata=metadata)

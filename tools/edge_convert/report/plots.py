"""Plots of a report, as PNG bytes: they take arrays and know nothing about models."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

mpl.use("Agg")

BAR, LINE, WARN = "#4477aa", "#222255", "#cc3311"
_WIDTH = 9.0
_HISTOGRAMS = 12  # the first so many: callers put what matters first
_LABEL = 28


def histograms(errors: Mapping[str, NDArray[np.float64]]) -> bytes:
    """Return a small histogram of errors for each tensor; one without any error says so."""
    shown = list(errors.items())[:_HISTOGRAMS]
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(_WIDTH, 1.9 * rows), layout="constrained")
    for place, (name, values) in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(_short(name), fontsize=8)
        axes.tick_params(labelsize=7)
        axes.yaxis.set_visible(False)
        if not np.any(values):
            axes.text(0.5, 0.5, "no error", ha="center", va="center", transform=axes.transAxes, fontsize=9)
            axes.set_xticks([])
            continue
        axes.hist(values, bins=41, color=BAR, log=True)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 2), useOffset=False)
        axes.locator_params(axis="x", nbins=3)
    return _png(figure)


def over_time(series: Sequence[tuple[str, NDArray[np.float64], bool]]) -> bytes:
    """Return curves [T] one below the other; (label, values, whether the scale is logarithmic) each."""
    figure = Figure(figsize=(_WIDTH, 2.0 * len(series)), layout="constrained")
    axes = figure.subplots(len(series), sharex=True, squeeze=False)[:, 0]
    for one, (label, values, logarithmic) in zip(axes, series, strict=True):
        one.plot(np.maximum(values, 1e-12) if logarithmic else values, color=LINE, linewidth=1)
        one.set_ylabel(label, fontsize=8)
        one.tick_params(labelsize=7)
        if logarithmic:
            one.set_yscale("log")
        one.grid(alpha=0.3)
    axes[-1].set_xlabel("step", fontsize=8)
    return _png(figure)


def bars(
    values: Mapping[str, float], unit: str, marked: Sequence[str] = (), logarithmic: bool = False
) -> bytes:
    """Return horizontal bars, the first on top; ``marked`` ones in red."""
    figure = Figure(figsize=(_WIDTH, 0.6 + 0.28 * len(values)), layout="constrained")
    axes = figure.add_subplot()
    names = list(values)
    colors = [WARN if name in marked else BAR for name in names]
    drawn = axes.barh(range(len(names)), list(values.values()), color=colors)
    axes.bar_label(drawn, fmt="%.3g", fontsize=7, padding=2)
    axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(unit, fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    if logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.12)
    return _png(figure)


def confusion(counts: NDArray[np.int64], labels: Sequence[str]) -> bytes:
    """Return a matrix of counts: rows are the source's actions, columns those of 8 bits."""
    size = min(1.6 + 0.35 * len(labels), _WIDTH)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(np.log1p(counts), cmap="Blues")
    axes.set_xticks(range(len(labels)), labels, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlabel("8 bits", fontsize=8)
    axes.set_ylabel("source", fontsize=8)
    if len(labels) <= 20:
        for row, column in np.argwhere(counts):
            color = "white" if np.log1p(counts[row, column]) > np.log1p(counts.max()) / 2 else LINE
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=color
            )
    return _png(figure)


def _short(name: str) -> str:
    return name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}"


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()

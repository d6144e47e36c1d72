"""The report's plots, SVG, drawn only from stored results: the same results give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter

from benchmarks.results import Result

Curves = dict[str, list[list[Sequence[float]]]]
"""Lines by name, each in pieces of (x, y)."""
INK, OURS, SECOND, THIRD = "#444444", "#1b7837", "#762a83", "#bf812d"
mpl.rcParams.update(
    {
        "svg.hashsalt": "edge-agent",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.edgecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def scale(results: Mapping[str, Result], canvas: Canvas) -> bool:
    """Draw agent-steps per second, and bytes per agent, over the number of agents."""
    if "scale" not in results:
        return False
    figures = results["scale"].figures
    left, right = canvas.subplots(1, 2)
    rate = {int(f.case.split()[0]): f.value for f in figures if f.figure == "agent-steps"}
    left.loglog(list(rate), list(rate.values()), "o-", color=OURS)
    left.yaxis.set_minor_formatter(NullFormatter())
    left.set(xlabel="agents", ylabel="agent-steps per second", title="one thread, 100 states")
    for name, colour in (("planned per agent", SECOND), ("resident per agent", OURS)):
        size = {int(f.case.split()[0]): f.value for f in figures if f.figure == name}
        right.semilogx(list(size), list(size.values()), "o-", color=colour, label=name.split()[0])
    right.set(xlabel="agents", ylabel="bytes per agent", title="memory of a population")
    right.set_ylim(bottom=0)
    right.legend(frameon=False)
    return True


def peers(results: Mapping[str, Result], canvas: Canvas) -> bool:
    """Draw how many times as long pymdp takes, a model: batches at the top, one agent below."""
    if "peers" not in results:
        return False
    figures = [f for f in results["peers"].figures if "num_iter" not in (f.baseline or "")]
    models = list(dict.fromkeys(f.case for f in figures if f.figure in ("batched", "one agent")))
    for figure, axes in zip(("batched", "one agent"), canvas.subplots(2, 1, sharex=True), strict=True):
        drawn = [f for f in figures if f.figure == figure]
        baselines = list(dict.fromkeys(f.baseline for f in drawn))
        width = 0.8 / len(baselines)
        for place, baseline in enumerate(baselines):
            found = {models.index(f.case): f.ratio or 0.0 for f in drawn if f.baseline == baseline}
            at = [index + (place - (len(baselines) - 1) / 2) * width for index in found]
            bars = axes.bar(at, list(found.values()), width, label=baseline, color=_colour(place))
            axes.bar_label(bars, fmt="%.0f", fontsize=7)
        axes.set(ylabel="times as long", title=f"pymdp beside edge-agent, {figure}", yscale="log")
        axes.set_ylim(bottom=1)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_xticks(range(len(models)), models, fontsize=7)
    return True


def neural(results: Mapping[str, Result], canvas: Canvas) -> bool:
    """Draw a population's step over the raw loop of its runtime, by batch."""
    if "neural" not in results:
        return False
    axes = canvas.subplots()
    lines: dict[str, dict[int, float]] = {}
    for figure in results["neural"].figures:
        if figure.baseline == "raw loop" and figure.ratio is not None:
            name, batch = figure.case.rsplit(" x", 1)
            lines.setdefault(name, {})[int(batch)] = figure.ratio
    for place, (name, line) in enumerate(lines.items()):
        axes.semilogx(list(line), list(line.values()), "o-", label=name, color=_colour(place))
    axes.axhline(1.0, color=INK, linewidth=0.7)
    axes.set(xlabel="networks in a batch", ylabel="step over raw loop", title="added by a population")
    axes.legend(frameon=False)
    return True


def soak(curves: Curves, canvas: Canvas) -> None:
    """Draw the resident memory of each daemon; a piece ends where the daemon was killed."""
    axes = canvas.subplots()
    for place, (name, pieces) in enumerate(curves.items()):
        for piece in pieces:
            minutes, megabytes = zip(*piece, strict=True)
            axes.plot(
                minutes, megabytes, "-", color=_colour(place), label=name if piece is pieces[0] else None
            )
    axes.set(
        xlabel="minutes of abuse", ylabel="resident, MB", title="a line ends where its daemon was killed"
    )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=len(curves), loc="lower right")


def _colour(place: int) -> str:
    return (OURS, SECOND, THIRD, INK, "#2166ac", "#b2182b")[place % 6]


PLOTS: dict[str, tuple[Callable[[Mapping[str, Result], Canvas], bool], tuple[float, float]]] = {
    "scale": (scale, (7.2, 2.7)),
    "peers": (peers, (9.0, 4.4)),
    "neural": (neural, (5.0, 2.8)),
}


def draw(results: Mapping[str, Result], curves: Mapping[str, Curves], folder: Path) -> list[str]:
    """Draw what there are results or curves for into ``folder`` and return the names."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (picture, size) in PLOTS.items():
        canvas = Canvas(figsize=size, layout="constrained")
        if picture(results, canvas):
            _save(canvas, folder / f"{name}.svg")
            drawn.append(name)
    if "soak" in curves:
        canvas = Canvas(figsize=(7.2, 2.7), layout="constrained")
        soak(curves["soak"], canvas)
        _save(canvas, folder / "soak.svg")
        drawn.append("soak")
    return drawn


def _save(canvas: Any, path: Path) -> None:
    canvas.savefig(path, metadata={"Date": None})

"""Draw the chart: the time that each way to keep sessions adds to a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apps import PAGES
from inprocess import RAW_GET, RAW_REPLACE, Samples

#: Colours for colour-blind readers (Okabe and Ito). Grey for the replaced packages, a colour for this package.
_SERIES = {
    "cookie": ("Flask's signed cookie", "#9a9a9a"),
    "flask-session": ("Flask-Session, Redis", "#5b5b5b"),
    "cloakroom-redis": ("Flask-Cloakroom, Redis", "#0072b2"),
    "cloakroom-sqlite": ("Flask-Cloakroom, SQLite", "#009e73"),
}
_RAW = {"/read": RAW_GET, "/write": RAW_REPLACE}
_LABELS = (
    "page that leaves\nthe session alone",
    "page that reads\nthe session",
    "page that changes\nthe session",
)
_WIDTH = 0.2


def draw(samples: Samples, path: Path) -> None:
    """Write the chart to ``path``, in the format of its suffix."""
    settings: dict[Any, Any] = {
        "svg.hashsalt": "flask-cloakroom",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.subplots()
        _bars(axes, samples)
        _raw_lines(axes, samples)
        axes.axhline(0, color="#333333", linewidth=0.8)
        axes.set_xticks(range(len(PAGES)), _LABELS)
        axes.set_ylabel("microseconds added to a request")
        axes.set_title("What a session costs: medians of one run, less is better", loc="left")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(axis="x", length=0)
        axes.margins(y=0.12)
        figure.legend(frameon=False, loc="outside lower center", ncols=3)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata, dpi=110, facecolor="white")


def _bars(axes: Axes, samples: Samples) -> None:
    for index, (name, (label, colour)) in enumerate(_SERIES.items()):
        heights = [samples.added(name, page) for page in PAGES]
        middle = (len(_SERIES) - 1) / 2
        positions = [group + (index - middle) * _WIDTH for group in range(len(PAGES))]
        bars = axes.bar(positions, heights, _WIDTH * 0.92, label=label, color=colour)
        labels = [f"{height:.0f}".replace("-", "−") for height in heights]
        axes.bar_label(bars, labels, padding=2, fontsize=9)


def _raw_lines(axes: Axes, samples: Samples) -> None:
    """Draw the time of the bare round trips to Redis in the same rounds."""
    for group, page in enumerate(PAGES):
        if page not in _RAW:
            continue
        height = samples.median(_RAW[page])
        label = "the same round trips to Redis on a raw socket" if page == "/write" else "_nolegend_"
        axes.hlines(height, group - 0.42, group + 0.42, "#d55e00", "dashed", linewidth=1.2, label=label)

"""How all plots look, and how they are written: SVG whose text stays text.

No font is shipped and none with Hangul needs to be installed: text is written as text, and whatever shows the file
chooses the font, character by character. Matplotlib has to know widths before; for what its own font lacks it takes
a box of 1.15 em, a little more than the one em of a Hangul syllable, so nothing overlaps.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5fa8", "#d1662b", "#8a8f98"

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reviewlens",  # ids in the file are the same in every run
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.parse_math": False,  # a "$" in a label is a dollar
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


@contextmanager
def plot_style() -> Iterator[None]:
    """Draw and write in this context."""
    with rc_context(STYLE), warnings.catch_warnings():
        # Meant, see above: the font that shows the file is not the one that is installed here.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from font", category=UserWarning)
        yield


def write_svg(figure: Figure, path: Path) -> None:
    """Write a figure; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})

"""One Plotly template for light and dark, and one colour for each method family.

Colours of families are Okabe & Ito's (2008) and three more that keep apart from them for every kind of
colour-blindness (held by a test); shape repeats what colour says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import plotly.graph_objects as go

from compression.spec.catalogue import FAMILIES

FAMILY_COLOURS = {
    "embed": "#0072B2",
    "quantize": "#E69F00",
    "prune": "#009E73",
    "factorize": "#CC79A7",
    "share": "#8A5A2B",
    "distill": "#D55E00",
    "reparam": "#8A4FE8",
    "compute": "#9CA55A",
    "train": "#56B4E9",
}
FAMILY_TITLES = {**{family: title.lower() for family, title in FAMILIES.items()}, "train": "fine-tuning only"}
# the family that changes a model most gives a hybrid its colour
LEADING = ("distill", "factorize", "prune", "embed", "share", "quantize", "reparam", "compute", "train")
SYMBOLS = ("circle", "square", "hexagon")  # one family, two, three and more
FONT = "Inter, system-ui, -apple-system, 'Segoe UI', sans-serif"


@dataclass(frozen=True)
class Palette:
    """The colours of a theme that a figure needs."""

    ink: str
    muted: str
    grid: str
    surface: str
    accent: str
    better: str
    worse: str


LIGHT = Palette(ink="#1F2933", muted="#5B6670", grid="#E6E9EC", surface="#FFFFFF", accent="#0F766E",
                better="#0B6E4F", worse="#B42318")
DARK = Palette(ink="#E6EAED", muted="#A3ADB6", grid="#2B333B", surface="#12171C", accent="#2DD4BF",
               better="#4ADE80", worse="#FF8A7A")


def palette(dark: bool) -> Palette:
    return DARK if dark else LIGHT


def template(dark: bool) -> go.layout.Template:
    """The template of every figure: transparent, a light grid, no frame, tabular hover."""
    colours = palette(dark)
    axis = {"gridcolor": colours.grid, "zeroline": False, "linecolor": colours.grid, "tickcolor": colours.grid,
            "tickfont": {"color": colours.muted, "size": 12}, "title": {"font": {"color": colours.muted, "size": 13},
                                                                       "standoff": 12}, "automargin": True}
    return go.layout.Template(layout={
        "font": {"family": FONT, "color": colours.ink, "size": 13},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(FAMILY_COLOURS.values()),
        "xaxis": axis,
        "yaxis": axis,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hoverlabel": {"bgcolor": colours.surface, "bordercolor": colours.grid,
                       "font": {"family": FONT, "color": colours.ink, "size": 13}, "align": "left"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0,
                   "font": {"color": colours.muted, "size": 12},
                   "bgcolor": "rgba(0,0,0,0)"},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": colours.muted, "activecolor": colours.accent},
        "treemapcolorway": list(FAMILY_COLOURS.values()),
    })


@lru_cache(maxsize=4096)
def split_families(families: str) -> tuple[str, ...]:
    """The method families of a point: "embed+quantize" → ("embed", "quantize"); the baseline has none."""
    return tuple(part for part in re.split(r"[^a-z_]+", families.lower()) if part and part != "baseline")


@lru_cache(maxsize=4096)
def leading_family(families: str) -> str | None:
    """The family whose colour a recipe takes; None for the baseline."""
    parts = split_families(families)
    return next((family for family in LEADING if family in parts), parts[0] if parts else None)


def family_colour(families: str, *, dark: bool = False) -> str:
    """The colour of a recipe's leading family; ink for the baseline."""
    return FAMILY_COLOURS.get(leading_family(families) or "", palette(dark).muted)


def family_symbol(families: str) -> str:
    """The shape of a recipe: how many families it combines, fine-tuning not counted."""
    count = len(set(split_families(families)) - {"train"})
    return SYMBOLS[min(max(count, 1), len(SYMBOLS)) - 1]

"""How occurrences fall on ids: the head and the tail of each column of ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from plots.text import literal
from plots.theme import FAMILY_COLOURS, template

MOST_CURVES = 6
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Curve:
    """Occurrences of a column's ids by rank, the most frequent first."""

    column: str
    ranks: tuple[int, ...]
    counts: tuple[int, ...]
    shares: tuple[float, ...]


def popularity_curves(profiles: Mapping[str, Sequence[tuple[int, int, float]]]) -> list[Curve]:
    """One curve for each column's (rank, count, share so far) points; the six with the most ids. One id is no curve."""
    found = sorted(((name, points) for name, points in profiles.items() if len(points) > 1),
                   key=lambda item: -item[1][-1][0])
    return [Curve(name, *(tuple(values) for values in zip(*points, strict=True)))
            for name, points in found[:MOST_CURVES]]


def draw_popularity(curves: Sequence[Curve], *, dark: bool = False, height: int = 380) -> go.Figure:
    """Log-log lines, each named at its end; dashes repeat what colour says."""
    figure = go.Figure()
    for index, curve in enumerate(curves):
        figure.add_scatter(
            x=curve.ranks, y=curve.counts, mode="lines", name=literal(curve.column),
            line={"color": list(FAMILY_COLOURS.values())[index], "width": 2, "dash": DASHES[index]},
            customdata=[f"{share:.1%}".replace("%", " %") for share in curve.shares],
            hovertemplate=f"<b>{literal(curve.column)}</b><br>rank %{{x:,}}: %{{y:,}} rows<br>ids up to here cover "
                          "%{customdata}<extra></extra>")
    figure.update_layout(template=template(dark), height=height, showlegend=True,
                         margin={"l": 8, "r": 8, "t": 36, "b": 8})
    figure.update_xaxes(type="log", title="Rank of the id, most frequent first", dtick=1)
    figure.update_yaxes(type="log", title="Occurrences in train", dtick=1)
    return figure

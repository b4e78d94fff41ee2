"""Where the bytes went: every changed module before and after, largest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import plotly.graph_objects as go

from compression.spec.records import Change
from compression.tasks.units import human_bytes
from plots.text import literal
from plots.theme import palette, template

MAX_BARS = 12


@dataclass(frozen=True, slots=True)
class ByteBar:
    """A module's bytes before the first step that changed it, and after the last."""

    module: str
    before: int
    after: int


def byte_bars(changes: Iterable[Change], *, most: int = MAX_BARS) -> list[ByteBar]:
    """One bar for each changed module, largest first; what is beyond `most` is added up in a last bar."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for change in changes:
        first.setdefault(change.module, change.bytes_before)
        last[change.module] = change.bytes_after
    bars = sorted((ByteBar(module, first[module], last[module]) for module in first),
                  key=lambda bar: (-bar.before, bar.module))
    if len(bars) <= most:
        return bars
    rest = bars[most - 1:]
    return [*bars[:most - 1], ByteBar(f"{len(rest)} more", sum(bar.before for bar in rest),
                                      sum(bar.after for bar in rest))]


def draw_byte_bars(bars: list[ByteBar], *, dark: bool = False) -> go.Figure:
    """Two thin bars a module, before in grey and after in the accent, with the sizes written beside them."""
    colours = palette(dark)
    names = [literal(bar.module) for bar in reversed(bars)]
    figure = go.Figure()
    for title, colour, sizes in (("after", colours.accent, [bar.after for bar in reversed(bars)]),
                                 ("before", colours.muted, [bar.before for bar in reversed(bars)])):
        figure.add_bar(x=sizes, y=names, orientation="h", name=title, marker={"color": colour, "cornerradius": 2},
                       text=[human_bytes(size) for size in sizes], textposition="outside", cliponaxis=False,
                       textfont={"size": 11, "color": colours.muted},
                       hovertemplate="<b>%{y}</b><br>" + title + " %{x:,.0f} bytes<extra></extra>")
    figure.update_layout(template=template(dark), barmode="group", bargap=0.35, bargroupgap=0.08,
                         height=90 + 44 * len(bars), legend_traceorder="reversed", margin={"r": 72})
    figure.update_xaxes(showticklabels=False, showgrid=False)
    figure.update_yaxes(showgrid=False, ticklabelstandoff=6)
    return figure

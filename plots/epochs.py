"""A training by its epochs: losses on the left, what decided on the right, the kept epoch marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from compression.tasks.units import metric_title
from plots.theme import palette, template

LOSS = "logloss"  # in the unit of the training loss


@dataclass(frozen=True)
class EpochCurves:
    """A value an epoch, from the first that was trained on; None where it wasn't measured."""

    epochs: tuple[int, ...]
    train_loss: tuple[float | None, ...]
    valid_loss: tuple[float | None, ...]
    metric: str  # which decided
    score: tuple[float | None, ...]
    kept: int  # epoch; 0 is the model as it came


def epoch_curves(notes: Mapping[str, Any]) -> EpochCurves | None:
    """From the notes of a training; None where there are none, or of one epoch, which is no curve."""
    history, metric = notes.get("history"), notes.get("metric")
    if not metric or not isinstance(history, Sequence) or len(history) < 2:
        return None

    def values(key: str) -> tuple[float | None, ...]:
        return tuple(epoch.get(key) for epoch in history)

    return EpochCurves(values("epoch"), values("train_loss"), values(f"valid_{LOSS}"), metric,
                       values(f"valid_{metric}"), notes.get("best_epoch", 0))


def draw_epochs(curves: EpochCurves, *, dark: bool = False, height: int = 300) -> go.Figure:
    """Two panels over the same epochs; the scores of validation rows are solid, the training loss is dashed."""
    colours = palette(dark)
    decided = curves.metric != LOSS
    figure = make_subplots(rows=1, cols=2 if decided else 1, horizontal_spacing=0.1)
    lines = [("Training loss", curves.train_loss, colours.muted, "dash", 1),
             ("Validation loss", curves.valid_loss, colours.accent, "solid", 1)]
    if decided:
        lines.append((f"Validation {metric_title(curves.metric)}", curves.score, colours.accent, "solid", 2))
    for title, values, colour, dash, column in lines:
        if any(value is not None for value in values):
            figure.add_scatter(x=curves.epochs, y=values, mode="lines+markers", name=title, row=1, col=column,
                               line={"color": colour, "width": 2, "dash": dash}, marker={"size": 5},
                               showlegend=column == 1,
                               hovertemplate=f"{title} %{{y:.4f}}<br>epoch %{{x}}<extra></extra>")
    column = 2 if decided else 1
    if curves.kept:
        figure.add_scatter(x=[curves.kept], y=[curves.score[curves.kept - 1]], mode="markers", name="kept", row=1,
                           col=column, marker={"size": 13, "symbol": "circle-open", "color": colours.ink,
                                               "line": {"width": 2}},
                           hovertemplate="kept: epoch %{x}<extra></extra>")
    figure.update_layout(template=template(dark), height=height, showlegend=True,
                         margin={"l": 8, "r": 8, "t": 36, "b": 8})
    figure.update_xaxes(title="Epoch", tickformat="d", nticks=min(12, len(curves.epochs)))
    figure.update_yaxes(title="Loss", row=1, col=1)
    if decided:
        figure.update_yaxes(title=f"Validation {metric_title(curves.metric)}", row=1, col=2)
    return figure

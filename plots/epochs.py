"""A training by its epochs: its losses, and the metric that decided, with the epoch that was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from compression.tasks.units import title_within
from plots.theme import palette, template

LOSS = "logloss"  # in the unit of the training loss
HEIGHT = 300


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


def draw_losses(curves: EpochCurves, *, dark: bool = False) -> go.Figure:
    """The training loss, dashed, and that of the validation rows where it was measured."""
    colours = palette(dark)
    figure = _empty("Loss", len(curves.epochs), dark)
    for title, values, colour, dash in (("Training loss", curves.train_loss, colours.muted, "dash"),
                                        ("Validation loss", curves.valid_loss, colours.accent, "solid")):
        if any(value is not None for value in values):
            _add_line(figure, title, curves.epochs, values, colour, dash)
    if curves.metric == LOSS:
        _mark_kept(figure, curves, colours.ink)
    return figure


def draw_scores(curves: EpochCurves, *, dark: bool = False) -> go.Figure | None:
    """The metric that decided, with the kept epoch; None where that was the loss."""
    if curves.metric == LOSS:
        return None
    colours, title = palette(dark), f"Validation {title_within(curves.metric)}"
    figure = _empty(title, len(curves.epochs), dark)
    _add_line(figure, title, curves.epochs, curves.score, colours.accent, "solid")
    _mark_kept(figure, curves, colours.ink)
    return figure


def _empty(title: str, n_epochs: int, dark: bool) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(template=template(dark), height=HEIGHT, showlegend=True,
                         margin={"l": 8, "r": 8, "t": 36, "b": 8})
    figure.update_xaxes(title="Epoch", tickformat="d", nticks=min(12, n_epochs))
    figure.update_yaxes(title=title)
    return figure


def _add_line(figure: go.Figure, title: str, epochs: Sequence[int], values: Sequence[float | None], colour: str,
              dash: str) -> None:
    figure.add_scatter(x=epochs, y=values, mode="lines+markers", name=title, marker={"size": 5},
                       line={"color": colour, "width": 2, "dash": dash},
                       hovertemplate=f"{title} %{{y:.4f}}<br>epoch %{{x}}<extra></extra>")


def _mark_kept(figure: go.Figure, curves: EpochCurves, colour: str) -> None:
    if curves.kept:
        figure.add_scatter(x=[curves.kept], y=[curves.score[curves.kept - 1]], mode="markers", name="kept",
                           marker={"size": 13, "symbol": "circle-open", "color": colour, "line": {"width": 2}},
                           hovertemplate="kept: epoch %{x}<extra></extra>")

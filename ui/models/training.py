"""How a model was trained here: its epochs, what a tuning tried, and the settings it ended with."""

from __future__ import annotations

from typing import Any

import streamlit as st

from compression.spec.metrics import METRICS
from compression.tasks.units import metric_title, title_within
from plots.epochs import draw_losses, draw_scores, epoch_curves
from storage.records import ModelRow
from ui.shared.chart import draw_chart
from ui.shared.escape import escaped
from ui.shared.format import MISSING
from ui.shared.state import is_dark
from ui.shared.table import draw_dataframe

NOTES = ("history", "start", "settings", "tuning", "tuned", "metric")  # shown here, and not once more among the notes
TITLES = {"train_loss": "Training loss", "lead": "Lead over the best before", "standard_error": "Its standard error"}


def was_trained(row: ModelRow) -> bool:
    return bool(row.notes.get("history"))


def draw_training(row: ModelRow) -> None:
    """The chart, its numbers, and what was set."""
    notes = row.notes
    if curves := epoch_curves(notes):
        told = (f"of each epoch of the training of {row.name}; epoch {curves.kept} was kept. The table below has the "
                "same numbers.")
        left, right = st.columns(2, gap="medium")
        with left:
            draw_chart(draw_losses(curves, dark=is_dark()), key="model.losses", alt=f"Loss {told}")
        with right:
            if scores := draw_scores(curves, dark=is_dark()):
                draw_chart(scores, key="model.scores", alt=f"{metric_title(curves.metric)} {told}")
    draw_dataframe([_words(epoch) for epoch in notes["history"]], hide_index=True, placeholder=MISSING)
    if notes.get("tuning"):
        st.markdown(f"**Tuning.** {escaped(notes.get('tuned', ''))} A setting moved where the lead on the validation "
                    "rows was larger than its standard error.")
        draw_dataframe([_words(trial) for trial in notes["tuning"]], hide_index=True, placeholder=MISSING)
    if settings := notes.get("settings"):
        st.markdown("**Settings**")
        draw_dataframe([{"Setting": name, "Value": str(value)} for name, value in settings.items()], hide_index=True)


def _words(values: dict[str, Any]) -> dict[str, Any]:
    """A line of a table, its keys as people read them."""
    return {_title(key): {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            for key, value in values.items() if key != "metric"}


def _title(key: str) -> str:
    if key.startswith("valid_") and key.removeprefix("valid_") in METRICS:
        return f"Validation {title_within(key.removeprefix('valid_'))}"
    return TITLES.get(key, key.replace("_", " ").capitalize())

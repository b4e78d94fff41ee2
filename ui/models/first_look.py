"""The quality of an imported model on its data, beside a constant and a logistic regression, and what it suggests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from compression.spec.metrics import METRICS
from ui.shared.escape import escaped
from ui.shared.format import MISSING, format_value
from ui.shared.table import draw_dataframe

LEFT_OUT = "calibration_error"  # the noise of its bins says nothing about a binding
HELP = {"This model": "the exported file as it came in",
        "Constant": "the same score for every row: what knowing nothing gives",
        "Logistic regression": "trained here in seconds on the same columns"}


def draw_first_look(found: dict[str, Any] | None, *, guesses: Sequence[str] = (), trained: bool = False) -> None:
    """A sentence, a small table with intervals, and one warning where the scores are in doubt.

    Nothing where nothing was measured. `guesses`: settings nobody said, worth a thought where scores are in doubt.
    `trained`: the model was trained here, so that nobody bound it.
    """
    if not found:
        return
    if found.get("problem"):
        told = "The test rows could not be measured." if trained else "The model doesn't fit its dataset as bound."
        st.error(f"**{told}** {escaped(found['problem'])}")
        return
    st.markdown(escaped(headline(found)))
    doubts = list(found.get("hints", ()))
    if doubts and guesses:
        doubts.append(f"These settings were guessed: {' '.join(guesses)} Bind it again with other answers.")
    if doubts:
        st.warning("\n\n".join(map(escaped, doubts)))
    rows, keys = quality_rows(found)
    draw_dataframe(rows, hide_index=True, placeholder=MISSING, column_config={
        METRICS[key].title: st.column_config.TextColumn(help=f"{METRICS[key].help} In brackets the 95 % interval.")
        for key in keys} | {"On the test rows": st.column_config.TextColumn(
            help=" · ".join(f"{name}: {text}" for name, text in HELP.items()))})
    st.caption(f"Measured when it was {'trained' if trained else 'imported'}, over {found['rows']:,} test rows.")


def headline(found: dict[str, Any]) -> str:
    """ "AUC 0.8678 on 400 test rows; a constant has 0.5000, a logistic regression on the same columns 0.5326." """
    rows, keys = quality_rows(found)
    if not keys:
        return f"Scored {found['rows']:,} test rows."
    title = METRICS[keys[0]].title
    values = {row["On the test rows"]: row[title].split(" [")[0] for row in rows}
    others = [f"{words} {values[name]}" for name, words in (
        ("Constant", "a constant has"), ("Logistic regression", "a logistic regression on the same columns"))
        if name in values]
    return f"{title} {values['This model']} on {found['rows']:,} test rows" + (
        f"; {', '.join(others)}." if others else ".")


def quality_rows(found: dict[str, Any]) -> tuple[list[dict[str, str]], list[str]]:
    """(a row for each way to predict, keys of the metrics that some of them has)."""
    lines = [(line["name"], {one["metric"]: one for one in line["measurements"]}) for line in found["lines"]]
    keys = list(dict.fromkeys(key for _, values in lines for key in values if key != LEFT_OUT))
    return [{"On the test rows": name, **{METRICS[key].title: _cell(key, values.get(key)) for key in keys}}
            for name, values in lines], keys


def _cell(key: str, one: dict[str, Any] | None) -> str:
    if one is None:
        return MISSING
    interval = "" if one.get("ci_low") is None else \
        f" [{format_value(key, one['ci_low'])}, {format_value(key, one['ci_high'])}]"
    return format_value(key, one["value"]) + interval

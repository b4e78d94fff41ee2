"""What is made from a log that is added: negatives for one of positives only, a history of each user's items."""

from __future__ import annotations

import streamlit as st

from compression.data.propose import with_history, with_negatives
from compression.spec.data_description import DataDescription, Role

WAYS = {"uniform": "All items alike", "popularity": "As often as chosen"}


def draw_made(description: DataDescription, *, key: str) -> tuple[DataDescription, str]:
    """The description with what a person wants made, and a part of keys that differs with it.

    Offered where a user and an item were recognised, a history also needs a time. A log without a label opens the fold.
    """
    if not (description.by_role(Role.USER) and description.by_role(Role.ITEM)):
        return description, ""
    positives = description.negatives is not None or not description.label.column
    with st.expander("Make negatives or a history from this log", expanded=positives):
        drawn = st.toggle("Every row is a positive: draw negatives", value=description.negatives is not None,
                          key=f"{key}.negatives", help="Items that the user never chose, beside each row. The label is "
                                                       "made: 1 for rows of the file, 0 for drawn ones.")
        count, by = 1, "uniform"
        if drawn:
            count = st.number_input("Negatives beside each row", 1, 100, value=1, key=f"{key}.per_positive")
            by = st.segmented_control("Drawn from", list(WAYS), default="uniform", required=True, key=f"{key}.by",
                                      format_func=lambda one: WAYS[one])
        last = None
        if description.by_role(Role.TIME) and description.history is None and st.toggle(
                "Add a history", key=f"{key}.history", help="For each row the user's last items before it in time, as "
                "an input of several ids."):
            last = st.number_input("Items in the history", 1, 1000, value=20, key=f"{key}.last")
    if drawn:
        description = with_negatives(description, per_positive=int(count), by=by or "uniform")
    else:
        description = description.model_copy(update={"negatives": None})
    if last:
        description = with_history(description, last=int(last))
    return description, f".{drawn}.{last is not None}"

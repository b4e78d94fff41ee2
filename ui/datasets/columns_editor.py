"""A dataset's description as it is corrected: roles, label, how the files are read and split.

What the table says becomes a description by `edited_description`, which knows nothing of streamlit and is tested.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from compression.data.description import make_description
from compression.spec.data_description import Column, DataDescription, Role
from compression.spec.task import TASKS

ROLE_HELP = {
    Role.LABEL: "what the model predicts", Role.USER: "who; groups rows for GAUC, HR@10 and NDCG@10",
    Role.ITEM: "what is shown",
    Role.TIME: "orders the rows for the split; not an input", Role.CATEGORY: "an id or a word",
    Role.NUMBER: "a quantity", Role.MULTI: "several ids in a cell",
    Role.WEIGHT: "how much a row counts in training and in AUC, log loss and calibration; not an input",
    Role.IGNORE: "left out"}
SPLIT_TITLES = {"time": "By time", "user_time": "By time within user", "leave_one_out": "Leave one out",
                "random": "At random", "user": "By user", "given": "By file"}
SPLIT_HELP = ("By time: train on the past, test on what came after, as in production. Within user: each person's "
              "latest rows. Leave one out: what each person did last. By user: test on people the model has not seen.")
MOST_EXAMPLES = 3
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
NUMERIC = (Role.NUMBER, Role.LABEL, Role.WEIGHT)


def editor_rows(description: DataDescription, examples: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """One row for each column: name, role, separator, the first values; the decimal sign where commas may be one."""
    shown = {one.name: list(examples.get(one.name, ()))[:MOST_EXAMPLES] for one in description.columns}
    has_commas = description.is_text_table and any(
        one.decimal == "," or any(DECIMAL_COMMA.fullmatch(cell.strip()) for cell in shown[one.name])
        for one in description.columns)
    return [{"Column": one.name, "Role": one.role.value, "Separator": one.separator if one.role is Role.MULTI else "",
             **({"Decimal": one.decimal if one.role in NUMERIC else ""} if has_commas else {}),
             "First values": ", ".join(shown[one.name])} for one in description.columns]


def edited_description(description: DataDescription, rows: Sequence[Mapping[str, Any]], *,
                       at_least: float, **changes: Any) -> DataDescription:
    """The description with the table's roles, and with `changes` (split, min_count, name).

    The label is the one column with that role. Raises DataError in sentences when the parts don't agree.
    """
    columns = [Column(name=row["Column"], role=Role(row["Role"]), separator=row.get("Separator") or " ",
                      decimal=row.get("Decimal") or ".") for row in rows]
    labels = [one.name for one in columns if one.role is Role.LABEL]
    content = {**description.model_dump(mode="json"), **changes,
               "columns": [one.model_dump(mode="json") for one in columns],
               "label": {"column": labels[0] if labels else description.label.column, "at_least": at_least}}
    return make_description(content, where="The description")


def draw_columns(description: DataDescription, examples: Mapping[str, Sequence[str]], *, key: str) -> list[dict]:
    """The table of columns with their roles as selects; gives its rows as they stand."""
    st.caption(" · ".join(f"**{role.value}** {text}" for role, text in ROLE_HELP.items()))
    with st.container(key="editor.columns"):
        return st.data_editor(
            editor_rows(description, examples), hide_index=True, key=f"{key}.columns",
            disabled=["Column", "First values"], height="content" if len(description.columns) <= 14 else 520,
            column_config={
                "Role": st.column_config.SelectboxColumn(options=[role.value for role in Role], required=True),
                "Separator": st.column_config.TextColumn(max_chars=4, help="Between the values of a multi cell."),
                "Decimal": st.column_config.SelectboxColumn(options=[".", ","], help="In the numbers of a text table: "
                                                                                     "3.45 or 3,45."),
                "First values": st.column_config.TextColumn(width="large")})


def draw_label_and_split(description: DataDescription, *, key: str) -> dict[str, Any]:
    """The threshold, the split and the rare ids; gives them as `edited_description` takes them."""
    left, right = st.columns(2, gap="large")
    task = description.task
    with left:
        if len(TASKS) > 1:
            task = st.selectbox("Task", list(TASKS), index=list(TASKS).index(task), key=f"{key}.task",
                                format_func=lambda one: TASKS[one].title, help="What a model of this data is for.")
        decided = description.for_task(task)  # what the guess leaves open is the task's
        at_least = st.number_input("Positive from", value=float(decided.label.at_least), key=f"{key}.at_least.{task}",
                                   help=f"Label values from here on count as 1. {TASKS[task].label_help}")
        min_count = st.number_input("Rare below", 1, 1000, value=description.min_count, key=f"{key}.min_count",
                                    help="Ids with fewer train rows than this become “unknown”.")
    with right:
        one_file = "all" in description.files
        kinds = [one for one in SPLIT_TITLES if one != "given"] if one_file else ["given"]
        kind = st.segmented_control("Split", kinds, key=f"{key}.split.{task}", required=True,
                                    help=SPLIT_HELP,
                                    default=decided.split.kind if decided.split.kind in kinds else kinds[0],
                                    format_func=lambda one: SPLIT_TITLES[one])
        valid, test = description.split.valid, description.split.test
        if one_file:
            valid = st.slider("Validation share", 0.01, 0.4, value=valid, step=0.01, key=f"{key}.valid")
            test = st.slider("Test share", 0.01, 0.4, value=test, step=0.01, key=f"{key}.test")
    return {"at_least": at_least, "min_count": int(min_count), "task": task,
            "split": {"kind": kind or kinds[0], "valid": round(valid, 2), "test": round(test, 2),
                      "seed": description.split.seed}}

"""The parts of the Datasets page: the list, one dataset inside out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from compression.data.summary import ColumnSummary, DataSummary
from compression.spec.data_description import Role
from plots.popularity import draw_popularity, popularity_curves
from storage.records import DataRow
from storage.store import Store
from ui.datasets.columns_editor import SPLIT_TITLES
from ui.shared.chart import draw_chart
from ui.shared.collection import draw_delete, draw_head, draw_openable, draw_rename
from ui.shared.escape import escaped
from ui.shared.format import MISSING, ago, human_count, percent, plural
from ui.shared.links import data_file_url, draw_download, draw_files, split_url
from ui.shared.shell import Figure, draw_figures
from ui.shared.state import is_dark, open_page
from ui.shared.table import draw_dataframe

SHIFT = 0.2  # population stability index from which a shift is usually spoken of
LARGE_VOCABULARY_SHARE = 0.5
SPLITS = {"train": "Train", "valid": "Validation", "test": "Test"}


def summary_of(row: DataRow) -> DataSummary | None:
    """What was found in a dataset; None where nothing was kept."""
    return DataSummary.model_validate(row.summary) if row.summary else None


def draw_list(store: Store, rows: Sequence[DataRow]) -> None:
    """Every dataset; choosing a row opens it."""
    draw_openable("datasets", [_list_row(row) for row in rows], [row.id for row in rows], {
        "Rows": st.column_config.NumberColumn(format="localized"),
        "Positive": st.column_config.NumberColumn(format="percent"),
        "Size": st.column_config.NumberColumn(format="bytes")})


def _list_row(row: DataRow) -> dict[str, Any]:
    found = summary_of(row)
    inputs = [one for one in row.description.columns if one.role not in (Role.LABEL, Role.TIME, Role.IGNORE)]
    return {"Dataset": row.name, "Rows": sum(found.rows.values()) if found else None,
            "Positive": found.label_rate.get("train") if found else None, "Inputs": len(inputs),
            "Split": SPLIT_TITLES.get(row.description.split.kind, row.description.split.kind),
            "Size": row.size_bytes, "Origin": row.origin, "Added": ago(row.created)}


def draw_dataset(store: Store, row: DataRow) -> None:
    """One dataset: rows and label rate of each split, columns with drift, popularity of ids, first rows, files."""
    _draw_head(store, row)
    found = summary_of(row)
    if found is None:
        st.caption("No summary was kept for this dataset.")
    else:
        _draw_figures(found)
        if row.description.is_test_only:
            st.markdown("Test rows alone: models are measured on them, and nothing is trained.")
        for sentence in findings(found):
            st.markdown(f"- {escaped(sentence)}")
    tabs = st.tabs(["Columns", "Popularity of ids", "First rows", "Download"])
    with tabs[0]:
        draw_dataframe(column_table(row, found), hide_index=True, placeholder=MISSING, column_config=COLUMN_FORMATS,
                     height="content" if len(row.description.columns) <= 14 else 520)
    with tabs[1]:
        _draw_popularity(found)
    with tabs[2]:
        if found is not None and found.preview:
            draw_dataframe([dict(zip(found.preview_columns, line, strict=True)) for line in found.preview],
                         hide_index=True, placeholder=MISSING)
        else:
            st.caption("No rows were kept to show.")
    with tabs[3]:
        _draw_downloads(store, row, found)


def _draw_head(store: Store, row: DataRow) -> None:
    split = SPLIT_TITLES.get(row.description.split.kind, row.description.split.kind).lower()
    label = row.description.label
    with draw_head("datasets", row, [f"split {split}", f"positive where {label.column} ≥ {label.at_least:g}"]):
        if st.button("Upload a model for it", type="primary", help="One you trained elsewhere: ONNX, torch.export or "
                                                                   "weights."):
            open_page("models", add="upload", data=row.id)
        if not row.description.is_test_only and st.button("Train one", help="A reference model, trained here."):
            open_page("models", add="train", data=row.id)
        draw_rename(row.name, key="data", rename=lambda name: store.rename_dataset(row.id, name))
        draw_delete(f"dataset {row.name}", key="data", page="datasets",
                    delete=lambda with_runs: store.delete_dataset(row.id, with_runs=with_runs))
    if row.description.terms:
        st.caption(f"**Terms.** {escaped(row.description.terms)}")


def _draw_figures(found: DataSummary) -> None:
    figures: list[Figure] = [(f"{title} rows", human_count(found.rows[split]),
                              f"{percent(found.label_rate.get(split))} positive", f"{found.rows[split]:,} rows.")
                             for split, title in SPLITS.items() if split in found.rows]
    inputs = [one for one in found.columns if one.role not in (Role.LABEL, Role.TIME, Role.IGNORE)]
    ids = sum(one.cardinality or 0 for one in inputs if one.role is not Role.NUMBER)
    figures.append(("Distinct ids", human_count(ids), plural(len(inputs), "input column"),
                    f"{ids:,} ids over all columns of ids, in train."))
    draw_figures(figures)


def findings(found: DataSummary) -> list[str]:
    """What a careful person would point at: leakage, label drift, shifted columns, ids that train has not."""
    told = _leaks(found)
    train, test = found.label_rate.get("train"), found.label_rate.get("test")
    if train and test and abs(test - train) > 0.1 * train:
        told.append(f"The share of positives goes from {percent(train)} in train to {percent(test)} in test: expect "
                    "probabilities to be off there, whatever the model.")
    shifted = [one for one in found.columns if (one.drift or 0) > SHIFT and one.role is not Role.LABEL]
    if shifted:
        names = ", ".join(f"{one.name} ({one.drift:.2f})" for one in sorted(shifted, key=lambda one: -one.drift)[:4])
        told.append(f"{plural(len(shifted), 'column')} shifted between train and test (index above {SHIFT}): {names}.")
    for split, field in (("validation", "unknown_valid"), ("test", "unknown_share")):
        unknown = [one for one in found.columns if (getattr(one, field) or 0) > LARGE_VOCABULARY_SHARE]
        if unknown:
            told.append(f"Most {split} values of {', '.join(one.name for one in unknown[:4])} do not occur in train: "
                        "the model sees them as unknown. Check that the column is written alike in all files.")
    return told


def _leaks(found: DataSummary) -> list[str]:
    """What makes test scores too good to be true."""
    leakage, told = found.leakage, []
    if leakage.repeated_rows:
        told.append(f"{plural(leakage.repeated_rows, 'test row')} of {found.rows['test']:,} stand in train word for "
                    "word, label included: a model that remembers them looks better than it is.")
    if leakage.future_rows:
        share = percent(leakage.future_rows / found.rows["train"])
        told.append(f"{share} of the train rows are later than half of the test rows: the model learns from a future "
                    "it won't have. Split by time if it is to predict one.")
    if leakage.telling:
        told.append(f"{', '.join(leakage.telling[:4])} alone almost tells the label: it may be written after the fact. "
                    "Give it the role ignore unless it is known when the model is asked.")
    return told


COLUMN_FORMATS = {
    "Missing": st.column_config.NumberColumn(format="localized", help="Empty cells in all splits."),
    "Distinct": st.column_config.NumberColumn(format="localized", help="Distinct values in train."),
    "Head": st.column_config.NumberColumn(format="percent", help="Share of train rows that the most frequent 1 % of "
                                                                 "ids cover."),
    "Once": st.column_config.NumberColumn(format="percent", help="Share of ids that occur once in train."),
    "Unknown in test": st.column_config.NumberColumn(format="percent", help="Share of test values that train does not "
                                                                            "hold."),
    "Drift": st.column_config.NumberColumn(format="%.3f", help="Population stability index from train to test; above "
                                                               "0.2 is usually called a shift."),
}


def column_table(row: DataRow, found: DataSummary | None) -> list[dict[str, Any]]:
    """One row for each column: role, what it holds, head and tail, drift."""
    known = {one.name: one for one in found.columns} if found else {}
    return [{"Column": one.name, "Role": one.role.value, **_facts(known.get(one.name))}
            for one in row.description.columns]


def _facts(one: ColumnSummary | None) -> dict[str, Any]:
    if one is None:
        return {}
    spread = MISSING if one.lower is None or one.upper is None else \
        f"{one.lower:g} to {one.upper:g}" + (f", mean {one.mean:.4g}" if one.mean is not None else "")
    frequent = ", ".join(f"{value.value} ({human_count(value.count)})" for value in one.frequent[:3])
    return {"Distinct": one.cardinality, "Missing": one.missing, "Holds": frequent or spread, "Head": one.head_share,
            "Once": one.single_share, "Unknown in test": one.unknown_share, "Drift": one.drift}


def _draw_popularity(found: DataSummary | None) -> None:
    profiles = {one.name: [(point.rank, point.count, point.share) for point in one.profile]
                for one in found.columns if one.profile} if found else {}
    curves = popularity_curves(profiles)
    if not curves:
        st.caption("No column of ids with more than one value.")
        return
    draw_chart(draw_popularity(curves, dark=is_dark()), key="data.popularity",
               alt="Occurrences of each id by rank, for the columns with the most ids. The Columns tab has the "
                   "shares of head and tail.")
    st.caption("A steep line is a few popular ids and a long tail: rows of the tail are the first to give up bytes.")


def _draw_downloads(store: Store, row: DataRow, found: DataSummary | None) -> None:
    st.markdown("**Splits as CSV**, the rows as the files hold them")
    with st.container(horizontal=True, gap="small"):
        for split, title in SPLITS.items():
            if found is None or split in found.rows:
                count = f" · {plural(found.rows[split], 'row')}" if found else ""
                draw_download(f"{title}{count}", split_url(row.id, split))
    st.markdown("**Files as stored**")
    with st.container(horizontal=True, gap="small"):
        draw_files(store, row.manifest, lambda name: data_file_url(row.id, name))

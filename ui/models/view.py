"""The parts of the Models page: the list, one model inside out, renaming and deleting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from compression.models.uploaded import title_of
from compression.spec.errors import RecPressError
from compression.spec.records import ModelDescription, Part
from compression.spec.registry import STORED
from compression.spec.signature import Signature
from compression.spec.task import DEFAULT_TASK, TASKS
from compression.spec.values import Value, point_key, whole
from compression.tasks.verdict import largest_batch_key
from compression.train.outcome import STILL_IMPROVING, still_improving
from plots.treemap import bytes_sentence, draw_treemap, parameter_count, treemap_tiles
from storage.records import DataRow, ModelRow
from storage.store import Store
from ui.models.first_look import draw_first_look
from ui.models.notes import draw_notes, guesses
from ui.models.training import draw_training, was_trained
from ui.shared.chart import draw_chart
from ui.shared.collection import draw_delete, draw_head, draw_openable, draw_rename
from ui.shared.escape import escaped
from ui.shared.format import (
    MISSING,
    ago,
    exact_bytes,
    format_exact,
    format_value,
    human_bytes,
    human_count,
    metric_of,
    metric_title,
    plural,
)
from ui.shared.links import draw_files, model_file_url
from ui.shared.shell import Figure, draw_figures
from ui.shared.state import is_dark, open_page
from ui.shared.suggested_runs import queue_suggested, suggested_recipes
from ui.shared.table import draw_dataframe
from ui.shared.tasks import task_of

BASELINE_SHOWN = 2  # of the task's metrics, beside the latency


def architecture_title(key: str) -> str:
    """What people call an architecture; a graph of others has none."""
    return "ONNX graph" if key == "onnx" else title_of(key)


def draw_list(store: Store, rows: Sequence[ModelRow]) -> None:
    """Every model; choosing a row opens it."""
    data_names = {row.id: row.name for row in store.datasets()}
    draw_openable(
        "models",
        [{"Model": row.name, "Architecture": architecture_title(row.architecture),
          "Exported size": row.description.size_bytes,
          "Parameters": sum(parameter_count(one) for one in row.description.layers),
          "Inputs": len(row.description.signature.get("inputs", ())) or None,
          "Dataset": data_names.get(row.data or "", MISSING), "Origin": row.origin, "Added": ago(row.created)}
         for row in rows],
        [row.id for row in rows],
        {"Exported size": st.column_config.NumberColumn(format="bytes"),
         "Parameters": st.column_config.NumberColumn(format="compact")})


def draw_model(store: Store, row: ModelRow) -> None:
    """One model: figures, where its bytes are, its layers, what it reads, its files."""
    _draw_head(store, row)
    _draw_figures(store, row)
    draw_first_look(row.notes.get("first_look"), guesses=guesses(row), trained=was_trained(row))
    _draw_next(store, row)
    sentence = bytes_sentence(row.description)
    if sentence:
        st.markdown(escaped(sentence))
    trained = ["Training"] if was_trained(row) else []
    tabs = st.tabs(["Where the bytes are", "Layers", "Inputs", *trained, "Notes", "Files"])
    with tabs[0]:
        tiles = treemap_tiles(row.description)
        if tiles:
            draw_chart(draw_treemap(tiles, dark=is_dark()), key="model.treemap",
                       alt=f"Treemap of {row.name}: {sentence} The Layers tab has the same numbers.")
        else:
            st.caption("The layers of this model could not be read; it can be measured as it is.")
    with tabs[1]:
        draw_dataframe(layer_table(row.description), hide_index=True, placeholder=MISSING, column_config={
            "Bytes": st.column_config.NumberColumn(format="bytes"),
            "Parameters": st.column_config.NumberColumn(format="localized")})
    with tabs[2]:
        _draw_inputs(store, row)
    if trained:
        with tabs[3]:
            draw_training(row)
    with tabs[-2]:
        draw_notes(row)
    with tabs[-1]:
        draw_files(store, row.manifest, lambda name: model_file_url(row.id, name))


def _draw_head(store: Store, row: ModelRow) -> None:
    told = [architecture_title(row.architecture)]
    if row.data:
        data = _dataset(store, row.data)
        told.append(f"on {data.name}" if data else "on a deleted dataset")
    with draw_head("models", row, told):
        if st.button("Compress it", type="primary", help="Open it on the Experiment page."):
            open_page("experiment", model=row.id, data=row.data)
        if row.notes.get("upload") and st.button("Bind again", help="Correct which columns its inputs read."):
            open_page("models", add="upload", model=row.id)
        draw_rename(row.name, key="model", rename=lambda name: store.rename_model(row.id, name))
        draw_delete(f"model {row.name}", key="model", page="models",
                    delete=lambda with_runs: store.delete_model(row.id, with_runs=with_runs))


def _draw_figures(store: Store, row: ModelRow) -> None:
    layers = row.description.layers
    parameters = sum(parameter_count(one) for one in layers)
    tables = [one for one in layers if one.part is Part.EMBEDDING]
    figures: list[Figure] = [
        ("Exported size", human_bytes(row.description.size_bytes), "",
         f"{exact_bytes(row.description.size_bytes)} as an exported file, float32."),
        ("Parameters", human_count(parameters), "", f"{parameters:,} stored numbers."),
        ("Embedding tables", f"{len(tables)}", "", f"{human_bytes(sum(one.size_bytes for one in tables))} together.")]
    values = baseline_values(store, row)
    keys = [*TASKS[task_of(store, row.data)].metrics[:BASELINE_SHOWN], largest_batch_key(values, "latency_p50_ms")]
    figures += [(metric_title(key), format_value(key, values[key].value), "", _measured(key, values[key]))
                for key in keys if key in values]
    draw_figures(figures)


def _draw_next(store: Store, row: ModelRow) -> None:
    """While no run has measured the model: what is still unknown, and one click to a first trade-off plot."""
    look = row.notes.get("first_look") or {}
    if look.get("problem") or baseline_values(store, row):
        return
    data = _dataset(store, row.data)
    unknown = "Memory and latency" if look else "Quality, memory and latency"
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        if data is not None:
            names = ", ".join(name for name, _, _ in suggested_recipes(row, data))
            if st.button("Queue suggested runs", help=f"A first trade-off plot in minutes: {names}."):
                queue_suggested(store, row, data)
        st.caption(f"{training_words(row)}{unknown} appear here once a run has measured the exported file.")


def baseline_values(store: Store, row: ModelRow) -> dict[str, Value]:
    """What the newest finished run measured of this model as it is; empty while there is none."""
    if row.data is None:
        return {}
    return {point_key(metric, batch): Value(one.value, one.ci_low, one.ci_high)
            for (metric, batch), one in whole(store.baseline(row.id, row.data)).items()}


def training_words(row: ModelRow) -> str:
    """The validation score of the training, as a hint; "" where there was none."""
    epoch, history = row.notes.get("best_epoch"), row.notes.get("history")
    if not epoch or not isinstance(history, list) or len(history) < epoch:
        return ""
    metric = row.notes.get("metric", TASKS[DEFAULT_TASK].primary_metric)  # trainings once had no other
    value = history[epoch - 1].get(f"valid_{metric}")
    said = f", {STILL_IMPROVING}" if still_improving({"stopped_early": True} | row.notes) else ""
    return (f"Validation {metric_title(metric)} in training: {value:.4f} (epoch {epoch} of {len(history)}{said}). "
            if value else "")


def _measured(key: str, value: Value) -> str:
    interval = "" if value.ci_low is None or value.ci_high is None else \
        f" 95 % interval {format_exact(key, value.ci_low)} to {format_exact(key, value.ci_high)}."
    return f"{metric_of(key).help} Here {format_exact(key, value.value)}.{interval}"


def layer_table(description: ModelDescription) -> list[dict[str, Any]]:
    """One row for each layer, from large to small."""
    rows = [{"Layer": one.name, "Column": one.field or "", "Part": one.part.value, "Kind": one.kind,
             "Shape": " × ".join(f"{length:,}" for length in one.shape),
             "Type": " + ".join(sorted({tensor.dtype for tensor in one.tensors})),
             "Parameters": parameter_count(one), "Bytes": one.size_bytes} for one in description.layers]
    return sorted(rows, key=lambda item: -item["Bytes"])


def _draw_inputs(store: Store, row: ModelRow) -> None:
    signature = Signature.model_validate(row.description.signature, context=STORED)
    data = _dataset(store, row.data)
    has = {column.name: column.role.value for column in data.description.columns} if data else {}
    if row.data and data is None:
        st.caption("The dataset it was bound to was deleted.")
    draw_dataframe([{"Input": one.name, "Kind": one.kind, "Bound to column": one.column,
                   "Role there": has.get(one.column, MISSING), "Ids": one.cardinality, "Longest list": one.max_length,
                   "Transform": one.transform if one.kind == "number" else MISSING, "Type": one.dtype}
                  for one in signature.singles], hide_index=True, placeholder=MISSING)
    keeps_unknown = any(one.ids == "vocabulary" and one.first_id for one in signature.singles if one.kind != "number")
    st.caption(f"It gives {escaped(signature.output)}, a {signature.output_form} for each row."
               + (" Id 0 stands for unknown." if keeps_unknown else ""))


def _dataset(store: Store, data_id: str | None) -> DataRow | None:
    """The dataset a model is bound to; None where there is none any more."""
    try:
        return store.dataset(data_id) if data_id else None
    except RecPressError:
        return None


def count_words(rows: Sequence[ModelRow]) -> str:
    """ "3 models, 12.4 MB on disk.", or what the page is for while there is none."""
    if not rows:
        return "What you want to make smaller and faster."
    return f"{plural(len(rows), 'model')}, {human_bytes(sum(row.size_bytes for row in rows))} on disk."

"""Adding a model: upload one and bind its inputs, or train a reference model of the zoo."""

from __future__ import annotations

import json

import streamlit as st

from compression.errors import RecPressError
from compression.models.signature import Signature
from compression.models.zoo import ARCHITECTURES
from compression.records import ImportModelSpec, TrainSpec
from compression.train.params import TrainParams
from jobs.submit import submit
from storage.records import DataRow
from storage.store import Store
from ui.format import plural
from ui.params_form import params_form
from ui.shell import draw_back, empty_state, page_title
from ui.state import open_page, query_text, say_later
from ui.uploader import clear_uploader, uploader
from ui.uploads import Upload

UPLOAD = "models.upload"
NO_DATA = ""
MOST_CONFIG_BYTES = 1_000_000


def draw_upload(store: Store) -> None:
    """Files, a name, the dataset whose columns the inputs read; then a job checks and stores them."""
    draw_back("All models", "models")
    page_title("Upload a model", "It is checked in a process of its own before anything of it is used.")
    files = uploader("Model files", kind="model", key=UPLOAD)
    st.caption("A .safetensors with its config.json for a model of the zoo · an .onnx, with its external data file if "
               "it has one · a .pt2 of torch.export · a checkpoint of torch.save (.pt, .pth, .ckpt) with its "
               "config.json · a bundle .zip that RecPress exported. Nothing in an upload is run.")
    if not files:
        return
    datasets = store.datasets()
    reads = columns_read(store, files)
    left, right = st.columns(2, gap="medium")
    with left:
        name = st.text_input("Name", value=suggested_name(files), key=f"{UPLOAD}.name", max_chars=200)
    with right:
        data = _choose_data(_fitting_first(datasets, reads), "Dataset it was made for", f"{UPLOAD}.data", optional=True)
    binding = _draw_binding(datasets, data) if any(one.name.lower().endswith(".onnx") for one in files) else {}
    problem = missing_part(files) or missing_words(reads, next((row for row in datasets if row.id == data), None))
    if problem:
        st.warning(problem)
    if st.button("Import the model", type="primary", disabled=bool(problem) or not name.strip()):
        spec = ImportModelSpec(files={one.name: one.digest for one in files}, name=name, data=data or None,
                               binding=binding)
        _queue(store, spec, f"Import {name}", f"{name} is being checked.")


def suggested_name(files: list[Upload]) -> str:
    """The name of the file that holds the weights, without its ending."""
    order = (".onnx", ".safetensors", ".zip")
    first = min(files, key=lambda one: next((rank for rank, end in enumerate(order)
                                             if one.name.lower().endswith(end)), 9))
    return first.name.rsplit(".", 1)[0]


def missing_part(files: list[Upload]) -> str:
    """What is still missing of a model, as a sentence; "" when it is complete."""
    names = [one.name.lower() for one in files]
    weights = [name for name in names if name.endswith(".safetensors")]
    whole = [name for name in names if name.endswith((".onnx", ".zip"))]
    if len(weights) + len(whole) > 1:
        return "These files hold more than one model. Keep one .onnx, .safetensors or .zip, and remove the others."
    if weights and "config.json" not in names:
        return ("The weights need their config.json (architecture, config and signature), as RecPress saves it beside "
                "them. Add it to the upload.")
    if not weights and not whole:
        return "A model needs a .safetensors, an .onnx or a bundle .zip; add it to the upload."
    return ""


def columns_read(store: Store, files: list[Upload]) -> list[str]:
    """The dataset columns that an uploaded config.json says its model reads; empty where it says nothing."""
    config = next((one for one in files if one.name.lower() == "config.json" and one.size <= MOST_CONFIG_BYTES), None)
    if config is None:
        return []
    try:
        plain = json.loads(store.files.path(config.digest).read_bytes())
        return [one.column for one in Signature.model_validate(plain["signature"]).singles]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # the import says what is wrong with it


def missing_words(reads: list[str], data: DataRow | None) -> str:
    """Which columns the chosen dataset lacks for this model, as a sentence; "" when it has them all."""
    has = {column.name for column in data.description.columns} if data else set(reads)
    lacks = [name for name in reads if name not in has]
    if not lacks:
        return ""
    shown = ", ".join(lacks[:6]) + (f" and {len(lacks) - 6} more" if len(lacks) > 6 else "")
    return (f"{data.name} lacks columns this model reads: {shown}. Choose the dataset it was made for, "
            "or none for now.")


def _fitting_first(datasets: list[DataRow], reads: list[str]) -> list[DataRow]:
    """Datasets that have all columns the model reads before the others, so that the first is a sensible start."""
    return sorted(datasets, key=lambda row: bool(missing_words(reads, row)))


def _draw_binding(datasets: list[DataRow], data: str) -> dict:
    """Columns for inputs whose names do not say them; usually left alone."""
    row = next((one for one in datasets if one.id == data), None)
    if row is None:
        return {}
    with st.expander("Bind inputs by hand: matched by name unless filled in"):
        st.caption("Only for an ONNX file whose inputs are not called like the columns. One line for each input; "
                   "the import names the inputs it could not match.")
        names = [column.name for column in row.description.columns]
        edited = st.data_editor(
            [{"Input": "", "Column": None}], num_rows="dynamic", hide_index=True, key=f"{UPLOAD}.binding.{row.id}",
            column_config={"Column": st.column_config.SelectboxColumn(options=names)})
    inputs = {line["Input"].strip(): {"column": line["Column"]} for line in edited
              if (line.get("Input") or "").strip() and line.get("Column")}
    return {"inputs": inputs} if inputs else {}


def draw_train(store: Store) -> None:
    """Dataset, architecture and its settings; then a job trains it with early stopping."""
    draw_back("All models", "models")
    page_title("Train a reference model", "A model of the zoo, trained here with early stopping on validation.")
    datasets = store.datasets()
    if not datasets:
        empty_state("No dataset yet", "A model is trained on rows: add a dataset, or fetch the sample on Home.")
        if st.button("Add a dataset", type="primary"):
            open_page("datasets", add="upload")
        return
    left, right = st.columns([1, 1], gap="large")
    with left:
        data = _choose_data(datasets, "Dataset", "models.train.data")
        key = st.radio("Architecture", list(ARCHITECTURES), key="models.train.architecture",
                       format_func=lambda one: ARCHITECTURES[one].title,
                       captions=[one.summary for one in ARCHITECTURES.values()])
        chosen = ARCHITECTURES[key]
        st.caption(f"Source: {chosen.source}.")
    with right:
        st.header("Architecture", anchor=False)
        config = params_form(chosen.params, f"models.train.{key}")
        if not config:
            st.caption(chosen.params.__doc__)
        st.header("Training", anchor=False)
        training = params_form(TrainParams, "models.train.params")
    row = next(one for one in datasets if one.id == data)
    name = st.text_input("Name", value=f"{chosen.title} on {row.name}", key=f"models.train.name.{key}.{data}",
                         max_chars=200, width=520)
    if st.button("Train", type="primary", disabled=not name.strip()):
        try:
            spec = TrainSpec(data=data, architecture=key, config=chosen.params(**config).model_dump(mode="json"),
                             training=TrainParams(**training).model_dump(mode="json"), name=name)
        except ValueError as error:
            st.error(f"These settings don't go together: {error}")
            return
        _queue(store, spec, f"Train {name}", f"{name} is queued.")


def _choose_data(datasets: list[DataRow], label: str, key: str, *, optional: bool = False) -> str:
    """A dataset's id, "" for none; starts at the one the URL names."""
    by_id = {row.id: row for row in datasets}
    options = ([NO_DATA] if optional else []) + list(by_id)
    asked = query_text("data")
    if st.session_state.get(key) not in options:
        st.session_state[key] = asked if asked in by_id else options[1] if optional and datasets else options[0]
    return st.selectbox(label, options, key=key, format_func=lambda one: "None yet: measure nothing" if one == NO_DATA
                        else f"{by_id[one].name} · {plural(sum(_rows(by_id[one])), 'row')}"
                        if _rows(by_id[one]) else by_id[one].name,
                        help="Its columns are bound to the model's inputs, and quality is measured on its test rows."
                        if optional else "The model is trained on its train rows and stopped on its validation rows.")


def _rows(row: DataRow) -> list[int]:
    return list(row.summary.get("rows", {}).values())


def _queue(store: Store, spec: ImportModelSpec | TrainSpec, title: str, notice: str) -> None:
    try:
        submit(store, spec, name=title)
    except RecPressError as error:
        st.error(str(error))
        return
    clear_uploader(UPLOAD)
    say_later(notice)
    open_page("models")

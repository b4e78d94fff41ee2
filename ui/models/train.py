"""Training a reference model of the zoo on a stored dataset."""

from __future__ import annotations

from typing import Any

import streamlit as st

from compression.models.zoo import ARCHITECTURES
from compression.spec.data_description import Role
from compression.spec.errors import RecPressError
from compression.spec.records import TrainSpec
from compression.train.starting import ReferenceParams, starting_settings
from jobs.submit import submit
from storage.records import DataRow
from storage.store import Store
from ui.shared.dataset_choice import choose_data
from ui.shared.escape import escaped
from ui.shared.params_form import params_form
from ui.shared.shell import draw_back, empty_state, page_title
from ui.shared.state import open_page, say_later

TRIALS = 8
TUNE_HELP = (f"Up to {TRIALS} short trainings choose rate, L2 of the tables and dropout on the validation rows, "
             "starting from the settings above. Each takes as long as the training itself, or less on large data.")
ID_ROLES = (Role.USER, Role.ITEM, Role.CATEGORY, Role.MULTI)  # those whose values have rows in a table


def draw_train(store: Store) -> None:
    """Dataset, architecture and its settings; then a job trains it with early stopping."""
    draw_back("All models", "models")
    page_title("Train a reference model", "A model of the zoo, trained here with early stopping on validation.")
    datasets = [row for row in store.datasets() if not row.description.is_test_only]
    if not datasets:
        empty_state("No dataset yet", "A model is trained on rows: add a dataset, or fetch the sample on Home.")
        if st.button("Add a dataset", type="primary"):
            open_page("datasets", add="upload")
        return
    left, right = st.columns([1, 1], gap="large")
    with left:
        data = choose_data(datasets, "Dataset", "models.train.data")
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
        row = next(one for one in datasets if one.id == data)
        training = params_form(ReferenceParams, f"models.train.params.{data}", values=_start(row))
        st.caption("Chosen by the number of rows and ids of the dataset; every value is yours to change.")
        tune = TRIALS if st.toggle("Tune first", key="models.train.tune", help=TUNE_HELP) else 0
    name = st.text_input("Name", value=f"{chosen.title} on {row.name}", key=f"models.train.name.{key}.{data}",
                         max_chars=200, width=520)
    if st.button("Train", type="primary", disabled=not name.strip()):
        try:
            spec = TrainSpec(data=data, architecture=key, config=chosen.params(**config).model_dump(mode="json"),
                             training=ReferenceParams(**training).model_dump(mode="json"), tune=tune, name=name)
        except ValueError as error:
            st.error(f"These settings don't go together: {escaped(error)}")
            return
        try:
            submit(store, spec, name=f"Train {name}")
        except RecPressError as error:
            st.error(escaped(error))
            return
        say_later(f"{name} is queued.")
        open_page("models")


def _start(row: DataRow) -> dict[str, Any]:
    """Settings of a training by the size of the dataset, from what its summary counts."""
    rows = row.summary.get("rows") or {}
    ids = sum(column.get("cardinality") or 0 for column in row.summary.get("columns") or ()
              if column.get("role") in ID_ROLES)
    return starting_settings(n_rows=rows.get("train", 0), n_ids=ids)

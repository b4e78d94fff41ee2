"""Datasets: the list, one dataset inside out (`?id=`), adding one (`?add=upload`), an import (`?job=`)."""

import streamlit as st

from compression.spec.errors import RecPressError
from ui.datasets import add, view
from ui.shared.failures import draw_failures, warn_without_worker
from ui.shared.import_watch import draw_import
from ui.shared.live import draw_active
from ui.shared.shell import empty_state, page_title
from ui.shared.state import open_page, page_link, query_int, query_text, store

if query_text("add") == "upload":
    add.draw_upload(store())
    st.stop()
if query_int("job") is not None:
    draw_import(store(), query_int("job"), "datasets")
    st.stop()
chosen = query_text("id")
if chosen:
    try:
        row = store().dataset(chosen)
    except RecPressError as error:
        empty_state("This dataset is not here", str(error))
        page_link("datasets", "All datasets")
        st.stop()
    view.draw_dataset(store(), row)
    st.stop()
rows = store().datasets()
left, right = st.columns([2, 1], vertical_alignment="bottom")
with left:
    page_title("Datasets", "The rows a model is trained on and measured with.")
actions = right.container(horizontal=True, horizontal_alignment="right", gap="small")
draw_active(store())
warn_without_worker(store())
draw_failures(store(), ("import_data", "sample"))
if rows:
    view.draw_list(rows)
else:
    empty_state("No dataset yet", "Upload a table of what people saw and whether they clicked, "
                                  "or start with the sample on Home.")
    actions = st.container(horizontal=True, gap="small")
with actions:
    if st.button("Add a dataset", type="primary", help="Upload a CSV, TSV, Parquet or JSON lines file."):
        open_page("datasets", add="upload")
    if not rows and st.button("Try the sample"):
        open_page("home")

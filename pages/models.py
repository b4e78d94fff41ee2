"""Models: the list, one model inside out (`?id=`), uploading or training one (`?add=`), an import (`?job=`)."""

import streamlit as st

from compression.spec.errors import RecPressError
from ui.models import add, train, view
from ui.shared.failures import draw_failures, warn_without_worker
from ui.shared.import_watch import draw_import
from ui.shared.live import draw_active
from ui.shared.shell import empty_state, page_title
from ui.shared.state import open_page, page_link, query_int, query_text, store

adding, chosen = query_text("add"), query_text("id")
if adding in ("upload", "train"):
    (add.draw_upload if adding == "upload" else train.draw_train)(store())
    st.stop()
if query_int("job") is not None:
    draw_import(store(), query_int("job"), "models")
    st.stop()
if chosen:
    try:
        row = store().model(chosen)
    except RecPressError as error:
        empty_state("This model is not here", str(error))
        page_link("models", "All models")
        st.stop()
    view.draw_model(store(), row)
    st.stop()
rows = store().models()
left, right = st.columns([2, 1], vertical_alignment="bottom")
with left:
    page_title("Models", view.count_words(rows) if rows else "What you want to make smaller and faster.")
actions = right.container(horizontal=True, horizontal_alignment="right", gap="small")
draw_active(store())
warn_without_worker(store())
draw_failures(store(), ("import_model", "train"))
if rows:
    view.draw_list(store(), rows)
else:
    empty_state("No model yet", "Upload the one you want to shrink, train a reference model on your data, "
                                "or start with the sample on Home.")
    actions = st.container(horizontal=True, gap="small")
with actions:
    if st.button("Add a model", type="primary", help="Upload ONNX, torch.export, weights, or a RecPress bundle."):
        open_page("models", add="upload")
    if st.button("Train a reference model"):
        open_page("models", add="train")
    if not rows and st.button("Try the sample"):
        open_page("home")

"""Datasets: the list, one dataset inside out (`?id=`), adding one (`?add=upload`), an import (`?job=`)."""

from ui.datasets import view
from ui.datasets.add import draw_upload
from ui.shared.collection import Collection, Way, draw_collection
from ui.shared.state import store

draw_collection(store(), Collection(
    page="datasets", one="dataset", sentence=lambda rows: "The rows a model is trained on and measured with.",
    rows=lambda store: store.datasets(), find=lambda store, key: store.dataset(key), draw_list=view.draw_list,
    draw_one=view.draw_dataset,
    empty="Upload a table of what people saw and whether they clicked, or start with the sample on Home.",
    ways=(Way("upload", "Add a dataset", draw_upload, "Upload a CSV, TSV, Parquet or JSON lines file."),),
    preparing=("import_data", "sample")))

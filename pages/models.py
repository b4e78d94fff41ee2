"""Models: the list, one model inside out (`?id=`), uploading or training one (`?add=`), an import (`?job=`)."""

from ui.models import view
from ui.models.add import draw_upload
from ui.models.train import draw_train
from ui.shared.collection import Collection, Way, draw_collection
from ui.shared.state import store

draw_collection(store(), Collection(
    page="models", one="model", sentence=view.count_words, rows=lambda store: store.models(),
    find=lambda store, key: store.model(key), draw_list=view.draw_list, draw_one=view.draw_model,
    empty="Upload the one you want to shrink, train a reference model on your data, or start with the sample on Home.",
    ways=(Way("upload", "Add a model", draw_upload, "Upload ONNX, torch.export, weights, or a RecPress bundle."),
          Way("train", "Train a reference model", draw_train)),
    preparing=("import_model", "train")))

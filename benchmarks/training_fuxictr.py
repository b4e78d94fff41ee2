"""One training in FuxiCTR's own loop, run by benchmarks/training.py in an environment that has FuxiCTR.

    python training_fuxictr.py JOB ZOO ARCHITECTURE SEED OUT SETTINGS

JOB holds the rows as RecPress encoded them (`write_job`), ZOO is a checkout of FuxiCTR, SETTINGS a JSON text: the
width, depth and embedding dim, and the set of published settings to take. The published settings are those of the
runs that BARS (github.com/reczoo/BARS, ranking/ctr) reports for two datasets: MovieLens-latest x1 for small data, and
Criteo x1. FuxiCTR's data loader is left out: batches are slices of tensors, as many and as large as its own.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MODELS = {"deepfm": ("DeepFM/DeepFM_torch/src/DeepFM.py", "DeepFM"), "dcnv2": ("DCNv2/src/DCNv2.py", "DCNv2"),
          "dnn": ("DNN/DNN_torch/src/DNN.py", "DNN"), "finalmlp": ("FinalMLP/src/FinalMLP.py", "FinalMLP")}
# L2 of tables, dropout (of the second network where there are two), batch normalisation
PUBLISHED = {
    "movielenslatest_x1": {"deepfm": (0.01, (0.3,), True), "dcnv2": (0.01, (0.2,), True), "dnn": (0.005, (0.4,), True),
                           "finalmlp": (0.01, (0.4, 0.2), True)},
    "criteo_x1": {"deepfm": (1e-5, (0.1,), True), "dcnv2": (1e-5, (0.1,), False), "dnn": (1e-5, (0.1,), False),
                  "finalmlp": (1e-5, (0.2, 0.3), True)},
}
BATCH, RATE, EPOCHS, PATIENCE = 4096, 1e-3, 100, 2  # the same in all of these
SMALL = 512


def write_job(folder: Path, dataset: Any) -> None:
    """Feature map and encoded rows of each split; what is there is left as it is."""
    if (folder / "feature_map.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in dataset.splits.items():
        np.savez(folder / f"{split}.npz", __label__=rows.label, **rows.inputs)
    features = []
    for one in dataset.signature.inputs:
        spec: dict[str, Any] = {"source": "", "type": {"number": "numeric", "multi": "sequence"}.get(one.kind,
                                                                                                   "categorical")}
        if one.kind != "number":
            spec["vocab_size"] = one.cardinality
        if one.kind == "multi":
            spec |= {"padding_idx": 0, "max_len": one.max_length, "feature_encoder": "layers.MaskedAveragePooling()"}
        features.append({one.name: spec})
    (folder / "feature_map.json").write_text(json.dumps({
        "dataset_id": folder.name, "num_fields": len(features), "labels": ["__label__"], "features": features,
        "total_features": 0, "input_length": len(features)}))


class Batches:
    """What FuxiCTR's loader gives: dictionaries of tensors, in a new order in each epoch where `shuffle`."""

    def __init__(self, file: Path, batch_size: int, *, shuffle: bool) -> None:
        import torch

        with np.load(file) as kept:
            self.tensors = {name: torch.from_numpy(kept[name]) for name in kept.files}
        self.rows, self.batch_size, self.shuffle = len(self.tensors["__label__"]), batch_size, shuffle

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self):
        import torch

        order = torch.randperm(self.rows) if self.shuffle else torch.arange(self.rows)
        for index in order.split(self.batch_size):
            yield {name: values[index] for name, values in self.tensors.items()}


def arguments(architecture: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The model's own arguments: our width, depth and embedding dim, its published settings otherwise."""
    penalty, dropouts, batch_norm = PUBLISHED[settings["published"]][architecture]
    units = [settings["width"]] * settings["n_layers"]
    own = {"embedding_regularizer": penalty, "net_regularizer": 0, "embedding_dim": settings["embedding_dim"],
           "learning_rate": RATE, "optimizer": "adam", "loss": "binary_crossentropy", "task": "binary_classification",
           "metrics": ["AUC"], "monitor": "AUC", "monitor_mode": "max", "early_stop_patience": PATIENCE, "verbose": 0}
    if architecture == "finalmlp":
        for network, dropout in zip(("mlp1", "mlp2"), dropouts, strict=True):
            own |= {f"{network}_hidden_units": units, f"{network}_dropout": dropout,
                    f"{network}_batch_norm": batch_norm}
        return own | {"use_fs": settings["gates"], "fs_hidden_units": [settings["width"]], "num_heads": 1}
    own |= {"net_dropout": dropouts[0], "batch_norm": batch_norm}
    if architecture == "dcnv2":
        return own | {"model_structure": "parallel", "num_cross_layers": settings["n_cross_layers"],
                      "parallel_dnn_hidden_units": units, "dnn_activations": "relu"}
    return own | {"hidden_units": units, "hidden_activations": "relu"}


def main() -> None:
    job, repository, architecture, seed, out, told = sys.argv[1:]
    import torch
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.torch_utils import seed_everything

    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    settings = json.loads(told)
    path, name = MODELS[architecture]
    spec = importlib.util.spec_from_file_location("fuxictr_model", Path(repository) / "model_zoo" / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    seed_everything(int(seed))
    own = arguments(architecture, settings)
    features = FeatureMap(Path(job).name, job)
    features.load(str(Path(job) / "feature_map.json"), own)
    batch = SMALL if settings["small"] else BATCH
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / Path(job).name).mkdir()
        model = getattr(module, name)(features, gpu=-1, model_root=scratch, model_id=architecture, **own)
        train, valid, test = (Batches(Path(job) / f"{split}.npz", batch if split == "train" else 8192,
                                      shuffle=split == "train") for split in ("train", "valid", "test"))
        started = time.process_time()
        model.fit(train, epochs=EPOCHS, validation_data=valid)
        seconds = time.process_time() - started
        scores = model.predict(test)
    incoming = Path(out).with_suffix(".incoming.npz")
    incoming.parent.mkdir(parents=True, exist_ok=True)
    np.savez(incoming, scores=np.asarray(scores, np.float32), seconds=seconds, epochs=model._epoch_index + 1,
             best=model._epoch_index + 1 - model._stopping_steps)
    incoming.rename(out)


if __name__ == "__main__":
    main()

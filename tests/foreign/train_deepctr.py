"""Train small DeepCTR-Torch models on made-up data and leave their weights and scores.

    python train_deepctr.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from deepctr_torch.inputs import DenseFeat, SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DCN, WDL, DCNMix, DeepFM, xDeepFM
from made_rows import ROWS, SIZES, made_rows

SMALL = {"dnn_hidden_units": (8, 6), "init_std": 0.3}
MODELS = {
    "DeepFM": (DeepFM, SMALL | {"dnn_use_bn": True, "dnn_activation": "sigmoid"}), "WDL": (WDL, SMALL),
    "DCN": (DCN, SMALL), "DCN_matrix": (DCN, SMALL | {"cross_parameterization": "matrix"}),
    "DeepFM_lists": (DeepFM, SMALL), "DCNMix": (DCNMix, SMALL), "xDeepFM": (xDeepFM, SMALL | {
        "cin_layer_size": (4, 4)}),
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    rows = made_rows()
    label = ((rows["user"] + rows["item"]) % 2).astype(np.float32)
    plain = [*(SparseFeat(name, size, embedding_dim=4) for name, size in SIZES.items()), DenseFeat("age", 1),
             DenseFeat("price", 1)]
    for name, (kind, settings) in MODELS.items():
        lists = [VarLenSparseFeat(SparseFeat("tags", 7, embedding_dim=4), maxlen=4)] if "lists" in name else []
        model = kind(plain + lists, plain + lists, task="binary", **settings)
        for parameter in model.linear_model.parameters():  # begins at 1e-4, where nothing would be told apart
            torch.nn.init.normal_(parameter, std=0.5)
        model.compile("adam", "binary_crossentropy")
        given = {one: rows[one] for one in model.feature_index}
        model.fit(given, label, batch_size=64, epochs=2, verbose=0)
        scores = model.predict({one: values[:ROWS] for one, values in given.items()})
        torch.save(model.state_dict(), folder / f"{name}.pth")
        np.savez(folder / f"{name}.npz", scores=scores, **{one: values[:ROWS] for one, values in given.items()})


if __name__ == "__main__":
    main()

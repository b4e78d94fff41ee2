"""Train small torch-rechub models on made-up data and leave their weights and scores.

    python train_rechub.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from made_rows import ROWS, SIZES, made_rows
from torch_rechub.basic.features import DenseFeature, SparseFeature
from torch_rechub.models.ranking import DCN, DCNv2, DeepFM, WideDeep

NETWORK = {"dims": [8, 6], "dropout": 0.1, "activation": "relu"}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    sparse = [SparseFeature(name, vocab_size=size, embed_dim=4) for name, size in SIZES.items()]
    dense = [DenseFeature("age"), DenseFeature("price")]
    models = {
        "DeepFM": DeepFM(dense + sparse, sparse, NETWORK), "DeepFM_ids": DeepFM(sparse, sparse, NETWORK),
        "WideDeep": WideDeep(dense, sparse, NETWORK), "WideDeep_all": WideDeep(sparse + dense, sparse + dense, NETWORK),
        "WideDeep_ids": WideDeep(sparse, dense + sparse, NETWORK), "DCN": DCN(dense + sparse, 2, NETWORK),
        "DCNv2": DCNv2(dense + sparse, 2, NETWORK, use_low_rank_mixture=False),
        "DCNv2_stacked": DCNv2(dense + sparse, 2, NETWORK, model_structure="stacked", use_low_rank_mixture=False),
        "DCNv2_mixture": DCNv2(dense + sparse, 2, NETWORK),
    }
    rows = {name: values for name, values in made_rows().items() if name != "tags"}
    label = torch.from_numpy(((rows["user"] + rows["item"]) % 2).astype(np.float32))
    batch = {name: torch.from_numpy(values) for name, values in rows.items()}
    for name, model in models.items():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.5)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(8):
            loss = torch.nn.functional.binary_cross_entropy(model(batch), label)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            scores = model(batch)[:ROWS].numpy()
        torch.save(model.state_dict(), folder / f"{name}.pth")
        np.savez(folder / f"{name}.npz", scores=scores, **{one: values[:ROWS] for one, values in rows.items()})


if __name__ == "__main__":
    main()

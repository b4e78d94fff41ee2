"""Train two small models with PyTorch Lightning and leave its checkpoints with scores beside them.

    python train_lightning.py FOLDER

A factorisation machine with a network over one table of all fields, whose rows only the hyper-parameters tell, with a
weighted loss beside it; and attention over a history, whose heads and activation only the hyper-parameters tell.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor, nn


class DeepFM(nn.Module):
    """One table for all fields, first order beside it, and a network of two layers."""

    def __init__(self, field_dims: list[int], dim: int, hidden: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.starts = np.array((0, *np.cumsum(field_dims)[:-1]))
        self.embedding, self.first_order = nn.Embedding(sum(field_dims), dim), nn.Embedding(sum(field_dims), 1)
        self.bias = nn.Parameter(torch.zeros(1))
        self.mlp = nn.Sequential(nn.Linear(len(field_dims) * dim, hidden), nn.BatchNorm1d(hidden),
                                 getattr(nn, activation)(), nn.Dropout(dropout), nn.Linear(hidden, 1))

    def forward(self, ids: Tensor) -> Tensor:
        ids = ids + ids.new_tensor(self.starts)
        vectors = self.embedding(ids)
        pairs = (vectors.sum(1) ** 2 - (vectors ** 2).sum(1)).sum(1) / 2
        return pairs + self.first_order(ids).sum((1, 2)) + self.bias + self.mlp(vectors.flatten(1)).squeeze(1)


class History(nn.Module):
    """Attention over ids with zeros behind them, the last state against a candidate."""

    def __init__(self, n_items: int, max_len: int, dim: int, nhead: int, activation: str, norm_first: bool) -> None:
        super().__init__()
        self.item_embedding, self.position_embedding = nn.Embedding(n_items, dim), nn.Embedding(max_len, dim)
        layer = nn.TransformerEncoderLayer(dim, nhead, 2 * dim, 0.1, activation, norm_first=norm_first,
                                           batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        history, item = ids[:, :-1], ids[:, -1]
        x = self.item_embedding(history) + self.position_embedding.weight
        later = torch.ones(history.shape[1], history.shape[1]).triu(1).bool()
        x = self.encoder(x, mask=later)
        last = (history != 0).sum(1) - 1
        return (x[torch.arange(len(x)), last] * self.item_embedding(item)).sum(1)


class Trained(lightning.LightningModule):
    def __init__(self, kind: str, **settings) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = {"deepfm": DeepFM, "history": History}[kind](**settings)
        self.criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return self.criterion(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 0.01)


def train(name: str, kind: str, ids: Tensor, folder: Path, **settings) -> None:
    lightning.seed_everything(5)
    module = Trained(kind, **settings)
    rows = torch.utils.data.TensorDataset(ids, torch.randint(0, 2, (len(ids),)).float())
    trainer = lightning.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu",
                                enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, torch.utils.data.DataLoader(rows, 32))
    trainer.save_checkpoint(folder / f"{name}.ckpt")
    module.eval()
    with torch.no_grad():
        np.savez(folder / f"{name}.npz", ids=ids[:40].numpy(), scores=module.net(ids[:40]).numpy())


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    sizes = [30, 20, 5]
    ids = torch.stack([torch.randint(0, rows, (256,)) for rows in sizes], 1)
    train("deepfm", "deepfm", ids, folder, field_dims=sizes, dim=4, hidden=8, dropout=0.2,
          activation="Tanh")
    histories = torch.randint(1, 25, (256, 8))
    for row, kept in enumerate(torch.randint(1, 7, (256,))):
        histories[row, kept:-1] = 0
    train("history", "history", histories, folder, n_items=25, max_len=7, dim=8, nhead=4, activation="gelu",
          norm_first=True)


if __name__ == "__main__":
    main()

"""Train small FuxiCTR models on made-up data and leave their weights, feature map, vocabulary and scores.

    python train_fuxictr.py FOLDER

The package has layers and training; its models come with the repository, so that they are put together here from
its layers under the repository's names.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from fuxictr.features import FeatureMap
from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.pytorch.layers import (
    CrossNetV2,
    FactorizationMachine,
    FeatureEmbedding,
    LogisticRegression,
    MLP_Block,
)
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from torch import nn


class Made(BaseModel):
    """What every model of the repository does around its layers."""

    def __init__(self, feature_map: FeatureMap, model_id: str, **settings) -> None:
        super().__init__(feature_map, model_id=model_id, gpu=-1, verbose=0, **settings)
        self.build(feature_map, settings)
        self.compile(settings["optimizer"], settings["loss"], settings["learning_rate"])
        self.reset_parameters()

    def forward(self, inputs: dict) -> dict:
        return {"y_pred": self.output_activation(self.score(self.get_inputs(inputs)))}


class LR(Made):
    def build(self, feature_map: FeatureMap, settings: dict) -> None:
        self.lr_layer = LogisticRegression(feature_map, use_bias=True)

    def score(self, x: dict) -> torch.Tensor:
        return self.lr_layer(x)


class FM(Made):
    def build(self, feature_map: FeatureMap, settings: dict) -> None:
        self.embedding_layer = FeatureEmbedding(feature_map, settings["embedding_dim"])
        self.fm = FactorizationMachine(feature_map)

    def score(self, x: dict) -> torch.Tensor:
        return self.fm(x, self.embedding_layer(x))


class DeepFM(FM):
    def build(self, feature_map: FeatureMap, settings: dict) -> None:
        super().build(feature_map, settings)
        self.mlp = MLP_Block(feature_map.sum_emb_out_dim(), settings["hidden_units"], settings["hidden_activations"],
                             output_dim=1, dropout_rates=settings["net_dropout"], batch_norm=settings["batch_norm"])

    def score(self, x: dict) -> torch.Tensor:
        vectors = self.embedding_layer(x)
        return self.fm(x, vectors) + self.mlp(vectors.flatten(start_dim=1))


class WideDeep(Made):
    def build(self, feature_map: FeatureMap, settings: dict) -> None:
        self.embedding_layer = FeatureEmbedding(feature_map, settings["embedding_dim"])
        self.lr_layer = LogisticRegression(feature_map, use_bias=False)
        self.dnn = MLP_Block(feature_map.sum_emb_out_dim(), settings["hidden_units"], settings["hidden_activations"],
                             output_dim=1, dropout_rates=settings["net_dropout"])

    def score(self, x: dict) -> torch.Tensor:
        return self.lr_layer(x) + self.dnn(self.embedding_layer(x).flatten(start_dim=1))


class DCNv2(Made):
    def build(self, feature_map: FeatureMap, settings: dict) -> None:
        self.embedding_layer = FeatureEmbedding(feature_map, settings["embedding_dim"])
        width = feature_map.sum_emb_out_dim()
        self.crossnet = CrossNetV2(width, settings["num_cross_layers"])
        self.parallel = settings["model_structure"] == "parallel"
        network = MLP_Block(width, settings["dnn_hidden_units"], settings["dnn_activations"],
                            dropout_rates=settings["net_dropout"], batch_norm=settings["batch_norm"])
        setattr(self, "parallel_dnn" if self.parallel else "stacked_dnn", network)
        self.fc = nn.Linear(settings["dnn_hidden_units"][-1] + (width if self.parallel else 0), 1)

    def score(self, x: dict) -> torch.Tensor:
        flat = self.embedding_layer(x, flatten_emb=True)
        crossed = self.crossnet(flat)
        return self.fc(torch.cat([crossed, self.parallel_dnn(flat)], -1) if self.parallel else
                       self.stacked_dnn(crossed))


SHARED = {"embedding_dim": 4, "net_dropout": 0.1, "learning_rate": 0.01, "optimizer": "adam",
          "loss": "binary_crossentropy", "task": "binary_classification", "metrics": ["AUC"], "monitor": "AUC",
          "dataset_id": "made"}
MODELS = {
    "LR": (LR, {}), "FM": (FM, {}),
    "DeepFM": (DeepFM, {"hidden_units": [8, 6], "hidden_activations": "tanh", "batch_norm": True}),
    "WideDeep": (WideDeep, {"hidden_units": [8, 6], "hidden_activations": "ReLU"}),
    "DCNv2": (DCNv2, {"model_structure": "parallel", "num_cross_layers": 2, "dnn_hidden_units": [8, 6],
                      "dnn_activations": "relu", "batch_norm": False}),
    "DCNv2_stacked": (DCNv2, {"model_structure": "stacked", "num_cross_layers": 2, "dnn_hidden_units": [8, 6],
                              "dnn_activations": "sigmoid", "batch_norm": True}),
}
COLUMNS = [{"name": ["user", "city"], "active": True, "dtype": "str", "type": "categorical"},
           {"name": "age", "active": True, "dtype": "float", "type": "numeric"},
           {"name": "tags", "active": True, "dtype": "str", "type": "sequence", "splitter": "^", "max_len": 4,
            "feature_encoder": "layers.MaskedAveragePooling()"},
           {"name": "item", "active": True, "dtype": "str", "type": "categorical", "min_categr_count": 2}]


def write_data(folder: Path) -> None:
    draw = random.Random(0)
    for part, rows in (("train", 400), ("valid", 80), ("test", 80)):
        lines = ["click,user,city,age,tags,item"]
        for _ in range(rows):
            user, item = draw.randint(1, 30), draw.randint(1, 25)
            tags = "^".join(f"t{draw.randint(1, 6)}" for _ in range(draw.randint(1, 4)))
            lines.append(f"{int(draw.random() < (0.7 if (user + item) % 2 else 0.2))},u{user},c{user % 4},"
                         f"{draw.randint(10, 90) / 10},{tags},i{item}")
        (folder / f"{part}.csv").write_text("\n".join(lines) + "\n")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write_data(folder)
    seed_everything(3)
    about = {"feature_cols": COLUMNS, "label_col": {"name": "click", "dtype": "float"}}
    made = FeatureProcessor(**about, dataset_id="made", data_root=str(folder))
    build_dataset(made, train_data=str(folder / "train.csv"), valid_data=str(folder / "valid.csv"),
                  test_data=str(folder / "test.csv"), **about)
    feature_map = FeatureMap("made", str(folder / "made"))
    feature_map.load(str(folder / "made" / "feature_map.json"), SHARED)
    (folder / "checkpoints" / "made").mkdir(parents=True)
    from fuxictr.pytorch.dataloaders import RankDataLoader

    loaders = RankDataLoader(
        feature_map, stage="train", train_data=str(folder / "made" / "train.parquet"),
        valid_data=str(folder / "made" / "valid.parquet"), batch_size=64, shuffle=True, data_format="parquet",
        num_workers=0)
    train, valid = (list(loader) for loader in loaders)
    for name, (kind, settings) in MODELS.items():
        settings = SHARED | settings
        model = kind(feature_map, name, model_root=str(folder / "checkpoints"), **settings)
        model.fit(train, validation_data=valid, epochs=2)
        Path(model.checkpoint).rename(folder / f"{name}.model")
        model.load_weights(str(folder / f"{name}.model"))
        model.eval()
        batch = next(iter(valid))
        with torch.no_grad():
            scores = model(batch)["y_pred"].numpy().reshape(-1)
        np.savez(folder / f"{name}.npz", scores=scores, **{key: value.numpy() for key, value in batch.items()})
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({f"{name}_made": {"model": kind.__name__, **settings}}))
    for name in ("feature_map.json", "feature_vocab.json"):
        (folder / name).write_text(json.dumps(json.loads((folder / "made" / name).read_text())))


if __name__ == "__main__":
    main()

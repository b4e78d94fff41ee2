"""Train small RecBole models on made-up data and leave checkpoints with scores beside them. Runs where RecBole is.

    python train_recbole.py FOLDER

Leaves for each model NAME.pth as RecBole's trainer writes it, and NAME.npz: the inputs of some rows, and `scores`.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import torch

for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
    setattr(np, name, kind)  # RecBole 1.2.1 names types that numpy 2 dropped

from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

CONTEXT = {"load_col": {"inter": ["uid", "iid", "click"], "user": ["uid", "city", "age"], "item": ["iid", "tags"]},
           "LABEL_FIELD": "click", "numerical_features": ["age"], "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]},
           "order": "RO", "group_by": None, "mode": "labeled"}, "metrics": ["AUC"], "valid_metric": "AUC",
           "train_neg_sample_args": None, "mlp_hidden_size": [12, 6], "embedding_size": 4}
PAIRS = {"load_col": {"inter": ["uid", "iid"]}, "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO",
         "mode": "uni5"}, "metrics": ["NDCG"], "valid_metric": "NDCG@10", "mlp_hidden_size": [12, 6],
         "mf_embedding_size": 4, "mlp_embedding_size": 5, "embedding_size": 6, "epochs": 12, "learning_rate": 0.05}
HISTORY = {"load_col": {"inter": ["uid", "iid", "time"]}, "MAX_ITEM_LIST_LENGTH": 7, "train_neg_sample_args": None,
           "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}, "metrics": ["NDCG"],
           "valid_metric": "NDCG@10", "hidden_size": 8, "inner_size": 16, "n_heads": 4, "embedding_size": 8}
MODELS = {
    "BPR": ("BPR", PAIRS), "NeuMF": ("NeuMF", PAIRS), "GMF": ("NeuMF", PAIRS | {"mlp_train": False}),
    "MLP": ("NeuMF", PAIRS | {"mf_train": False}),
    "LR": ("LR", CONTEXT), "FM": ("FM", CONTEXT), "DeepFM": ("DeepFM", CONTEXT), "WideDeep": ("WideDeep", CONTEXT),
    "DCNV2": ("DCNV2", CONTEXT | {"reg_weight": 0.01}),
    "DCNV2_parallel": ("DCNV2", CONTEXT | {"reg_weight": 0.01, "structure": "parallel"}),
    "SASRec": ("SASRec", HISTORY), "GRU4Rec": ("GRU4Rec", HISTORY | {"hidden_size": 10}),
    "Caser": ("Caser", HISTORY | {"reg_weight": 0.0}),
}


def write_data(folder: Path) -> None:
    """Atomic files: users with a city and an age, items with tags, clicks."""
    draw = random.Random(0)
    folder.mkdir(parents=True)
    users, items = range(1, 41), range(1, 31)
    (folder / "made.user").write_text("uid:token\tcity:token\tage:float\n" + "".join(
        f"u{user}\tc{user % 5}\t{draw.randint(18, 80) / 10}\n" for user in users))
    (folder / "made.item").write_text("iid:token\ttags:token_seq\n" + "".join(
        f"i{item}\t{' '.join(f't{draw.randint(1, 6)}' for _ in range(draw.randint(1, 4)))}\n" for item in items))
    pairs = [(user, item) for user in users for item in draw.sample(list(items), 15)]
    (folder / "made.inter").write_text("uid:token\tiid:token\tclick:float\ttime:float\n" + "".join(
        f"u{user}\ti{item}\t{int(draw.random() < (0.7 if (user + item) % 2 else 0.2))}\t{place}\n"
        for place, (user, item) in enumerate(pairs)))


def train(name: str, folder: Path) -> None:
    """One epoch and a checkpoint, and the scores of its best state on the first test rows."""
    model_name, settings = MODELS[name]
    config = Config(model=model_name, dataset="made", config_dict={
        "epochs": 2, "learning_rate": 0.01, **settings, "data_path": str(folder), "USER_ID_FIELD": "uid",
        "ITEM_ID_FIELD": "iid", "TIME_FIELD": "time", "RATING_FIELD": "click", "checkpoint_dir": str(folder / name),
        "show_progress": False, "use_gpu": False, "state": "ERROR", "save_dataset": True, "train_batch_size": 128})
    init_seed(7, True)
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    model = get_model(model_name)(config, loaders[0].dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model_name)(config, model)
    trainer.fit(*loaders[:2], saved=True, show_progress=False)
    Path(trainer.saved_model_file).rename(folder / f"{name}.pth")
    for path in (folder / name).glob("*Dataset.pth"):
        path.rename(folder / f"{name}-dataset.pth")
    saved = torch.load(folder / f"{name}.pth", weights_only=False)
    model.load_state_dict(saved["state_dict"])
    model.eval()
    rows = dataset.inter_feat[:40] if name not in ("SASRec", "GRU4Rec", "Caser") else loaders[0].dataset.inter_feat[:40]
    rows = dataset.join(rows) if model_name not in ("SASRec", "GRU4Rec", "Caser") else rows
    with torch.no_grad():
        scores = model.predict(rows)
    inputs = {field: rows[field].numpy() for field in rows.interaction}
    np.savez(folder / f"{name}.npz", scores=scores.numpy(), **inputs)


def main() -> None:
    folder = Path(sys.argv[1])
    write_data(folder / "made")
    for name in MODELS:
        train(name, folder)


if __name__ == "__main__":
    main()

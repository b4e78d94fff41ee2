"""A generated click log with planted structure, whose right answer is known.

Users and items have Zipf popularity, an effect and a latent vector each; category fields, a number and an
item's tags add effects of their own. The true click chance of every row is written beside it (column
`truth`, role ignore), so that a model's AUC can be held against the best any model could reach.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from compression.data.description import FILE_NAME, dump_description
from compression.spec.data_description import Column, DataDescription, Label, Role, Split

LATENT_DIM = 4
TAGS = 24


def generate_click_log(folder: Path, *, rows: int = 100_000, n_users: int = 2_000, n_items: int = 1_000,
                       n_fields: int = 4, field_values: int = 50, zipf: float = 1.05, click_rate: float = 0.25,
                       seed: int = 0, name: str = "Generated click log") -> Path:
    """Write clicks.csv, data.yaml and truth.json into `folder`, and give the folder.

    Columns: click (label), user, item, field_1 … field_`n_fields` (category), price (number, with missing
    cells), tags (multi), time, truth (chance of the click, ignored). Popularity of rank k falls as k^-`zipf`.
    truth.json: the AUC and log loss that the true chances reach over all rows, which no model beats but by luck.
    Same arguments, same bytes.
    """
    rng = np.random.default_rng(seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    user, item = _zipf_ids(rng, rows, n_users, zipf), _zipf_ids(rng, rows, n_items, zipf)
    fields = [_zipf_ids(rng, rows, field_values, 0.8) for _ in range(n_fields)]
    item_tags = rng.integers(0, TAGS, (n_items, 3))
    n_tags = rng.integers(1, 4, n_items)
    price = np.exp(rng.normal(3.0, 1.0, n_items))[item] * rng.uniform(0.8, 1.25, rows)
    missing = rng.random(rows) < 0.03

    logit = 0.7 * rng.standard_normal(n_users)[user] + 0.8 * rng.standard_normal(n_items)[item]
    users, items = (rng.standard_normal((count, LATENT_DIM), np.float32) for count in (n_users, n_items))
    logit += 0.5 * np.einsum("nd,nd->n", users[user], items[item])
    for k, values in enumerate(fields):
        logit += 0.4 * rng.standard_normal(field_values)[values]
        if k:  # neighbouring fields interact
            left, right = (rng.standard_normal((field_values, 2)) for _ in range(2))
            logit += 0.25 * np.einsum("nd,nd->n", left[fields[k - 1]], right[values])
    logit -= np.where(missing, 0.0, 0.4 * (np.log(price) - 3.0))
    tag_effect = 0.5 * rng.standard_normal(TAGS)
    weight = np.arange(3) < n_tags[:, None]  # (n_items, 3): which of an item's tags are shown
    logit += ((tag_effect[item_tags] * weight).sum(axis=1) / n_tags)[item]
    chance = _sigmoid(logit + _shift(logit, click_rate))
    click = rng.random(rows) < chance

    names = np.array([f"tag{t}" for t in range(TAGS)], dtype=object)
    joined = [" ".join(dict.fromkeys(row[:count])) for row, count in zip(names[item_tags], n_tags, strict=True)]
    table = {"click": click.astype(np.int8), "user": user, "item": item}
    table |= {f"field_{k + 1}": values for k, values in enumerate(fields)}
    frame = pl.DataFrame(table | {"price": np.round(price, 2), "tags": pl.Series(joined)[item.astype(np.uint32)],
                                  "time": 1_700_000_000 + np.sort(rng.integers(0, 30 * 86_400, rows)),
                                  "truth": np.round(chance, 6)})
    frame = frame.with_columns(price=pl.when(pl.Series(missing)).then(None).otherwise(pl.col("price")))
    frame.write_csv(folder / "clicks.csv")
    truth = {"auc": auc(chance, click), "logloss": logloss(chance, click), "rows": rows, "seed": seed}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    (folder / FILE_NAME).write_text(dump_description(_description(name, n_fields, truth)), encoding="utf-8")
    return folder


def auc(score: np.ndarray, label: np.ndarray) -> float:
    """Chance that a random positive scores above a random negative; ties count one half."""
    ranks = pl.Series(score).rank("average").to_numpy()
    label = label.astype(bool)
    positives = int(label.sum())
    pairs = positives * (len(label) - positives)
    return float((ranks[label].sum() - positives * (positives + 1) / 2) / pairs) if pairs else float("nan")


def logloss(chance: np.ndarray, label: np.ndarray) -> float:
    """Mean of −log of the chance given to what happened, natural logarithm."""
    return float(-np.log(np.clip(np.where(label.astype(bool), chance, 1 - chance), 1e-12, 1)).mean())


def _description(name: str, n_fields: int, truth: dict) -> DataDescription:
    columns = [Column(name="click", role=Role.LABEL), Column(name="user", role=Role.USER),
               Column(name="item", role=Role.ITEM)]
    columns += [Column(name=f"field_{k + 1}", role=Role.CATEGORY) for k in range(n_fields)]
    columns += [Column(name="price", role=Role.NUMBER), Column(name="tags", role=Role.MULTI),
                Column(name="time", role=Role.TIME), Column(name="truth", role=Role.IGNORE)]
    terms = (f"Generated by RecPress (seed {truth['seed']}); free to use. The true click chances reach an AUC of "
             f"{truth['auc']:.4f} over all rows: no model can be expected to beat that.")
    return DataDescription(name=name, files={"all": "clicks.csv"}, label=Label(column="click"),
                           columns=tuple(columns), split=Split(kind="time"), terms=terms)


def _zipf_ids(rng: np.random.Generator, rows: int, count: int, exponent: float) -> np.ndarray:
    """(rows,) int64 ids in [0, count), popularity falling as rank^-exponent; an id doesn't tell its rank."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    edges = np.cumsum(weights / weights.sum())
    ranks = np.minimum(np.searchsorted(edges, rng.random(rows)), count - 1)
    return rng.permutation(count)[ranks]


def _shift(logit: np.ndarray, rate: float) -> float:
    """The constant that makes the mean chance `rate`, by bisection over at most 100,000 of the rows."""
    some = logit[:100_000]
    low, high = -20.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(some + middle).mean() < rate else (low, middle)
    return (low + high) / 2


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))

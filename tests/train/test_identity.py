"""A checkpoint is used by the training that wrote it, and by no other."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compression.data.batches import to_device
from compression.spec.hook import Hook
from compression.spec.method import METHODS
from compression.testing.steps import apply, ordered_dataset
from compression.testing.tiny import TINY_CONFIG, TINY_FOREIGN, tiny_dataset, tiny_model
from compression.train.hooks.pruning import PruningHook
from compression.train.identity import fingerprint
from compression.train.loop import train
from compression.train.params import TrainParams

QUICK = TrainParams(epochs=2, batch_size=128)
DATASET = tiny_dataset(rows=1200)


def with_rows(split, change):
    """The dataset with the rows of one split changed; their number and the sum of their labels stay."""
    rows = DATASET.splits[split]
    return replace(DATASET, splits=DATASET.splits | {split: change(rows)})


def reordered(rows):
    return rows.take(np.arange(len(rows))[::-1])


def other_ages(rows):
    return replace(rows, inputs=rows.inputs | {"age": rows.inputs["age"][::-1].copy()})


def other_users(rows):
    return replace(rows, inputs=rows.inputs | {"user": rows.inputs["user"][::-1].copy()})


def pruning(sparsity):
    return PruningHook(("mlp.0",), sparsity=sparsity, scope="layer", schedule="cubic")


def dropping(rate):
    return tiny_model("deepfm", DATASET, dropout=rate)


CHANGED = {
    "numbers of train": lambda: {"dataset": with_rows("train", other_ages)},
    "ids of train": lambda: {"dataset": with_rows("train", other_users)},
    "order of train": lambda: {"dataset": with_rows("train", reordered)},
    "numbers of valid": lambda: {"dataset": with_rows("valid", other_ages)},
    "starting weights": lambda: {"model": tiny_model("deepfm", DATASET, seed=1)},
    "a setting that is no weight": lambda: {"model": dropping(0.3)},
    "a frozen table": lambda: {"model": frozen(tiny_model("deepfm", DATASET))},
    "the steps before": lambda: {"model": pruned(0.9)},
    "settings of a hook": lambda: {"hooks": [pruning(0.9)]},
    "no hook": lambda: {"hooks": []},
    "a setting of the training": lambda: {"params": TrainParams(epochs=2, batch_size=128, learning_rate=2e-3)},
    "the seed": lambda: {"seed": 5},
}


def frozen(model):
    model.tables.user.weight.requires_grad_(False)
    return model


def pruned(sparsity):
    return apply("prune.magnitude", tiny_model("deepfm", DATASET), DATASET, sparsity=sparsity).model


def trained(path, **changed):
    """(weights, whether it went on from a checkpoint) of a training that differs in what is given."""
    given = {"model": tiny_model("deepfm", DATASET), "dataset": DATASET, "hooks": [pruning(0.3)], "params": QUICK,
             "seed": 0} | changed
    model = given["model"]
    outcome = train(model, given["dataset"], given["params"], hooks=given["hooks"], seed=given["seed"],
                    checkpoint=path)
    return model.state_dict(), outcome.resumed


@pytest.mark.parametrize("what", CHANGED)
def test_the_checkpoint_of_another_training_is_not_used(what, tmp_path):
    trained(tmp_path / "train.ckpt")
    found, resumed = trained(tmp_path / "train.ckpt", **CHANGED[what]())
    right, _ = trained(tmp_path / "fresh.ckpt", **CHANGED[what]())
    assert not resumed
    assert all(torch.equal(found[name], right[name]) for name in right)


def test_the_very_same_training_made_anew_uses_it(tmp_path):
    first, _ = trained(tmp_path / "train.ckpt")
    again, resumed = trained(tmp_path / "train.ckpt", dataset=tiny_dataset(rows=1200))
    assert resumed and all(torch.equal(first[name], again[name]) for name in first)


def test_other_code_does_not_use_it(tmp_path, monkeypatch):
    trained(tmp_path / "train.ckpt")
    monkeypatch.setattr("compression.train.loop.code_version", lambda: "another")
    assert not trained(tmp_path / "train.ckpt")[1]


@pytest.mark.parametrize("architecture", [*TINY_CONFIG, *TINY_FOREIGN])
def test_a_model_that_has_scored_is_still_the_same(architecture):
    """A retry may have applied the steps again, or read their model from the cache."""
    model = tiny_model(architecture, DATASET)
    before = fingerprint(model)
    batch, _ = to_device(DATASET.splits["test"]).take(slice(0, 8))
    model(batch)
    assert fingerprint(model) == fingerprint(model.train()) == before
    assert fingerprint(tiny_model(architecture, DATASET)) == before


@pytest.mark.parametrize("key", sorted(METHODS))
def test_a_step_applied_again_gives_the_training_after_it_the_same_start(key):
    """So that a retry goes on from the checkpoint of its fine-tuning."""
    dataset = ordered_dataset()
    start = tiny_model("deepfm", dataset)
    first, second = (apply(key, start, dataset, **METHODS[key].tiny) for _ in range(2))
    assert fingerprint(first.model, first.hooks) == fingerprint(second.model, second.hooks)


class Holding(Hook):
    def __init__(self, held):
        self.held = held


def _scaled(by):
    return lambda value: value * by


TIED, EQUAL = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
PAIRS = [
    ([1, 23], [12, 3]), (["a", "b"], ["ab", ""]), (1, True), (1, "1"), (1.0, 1), (None, "None"),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({1, 2}, {1, 3}),
    (torch.zeros(2), torch.zeros(2, dtype=torch.float64)), (torch.zeros(4), torch.zeros(2, 2)),
    (torch.zeros(2), -torch.zeros(2)), (torch.ones(2), torch.ones(2, requires_grad=True)),
    (np.zeros(3), np.zeros(3, np.float32)), (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
    ([TIED, TIED], [TIED, EQUAL]), ([TIED, EQUAL, TIED], [TIED, EQUAL, EQUAL]), (torch.relu, torch.sigmoid),
    (_scaled(1), _scaled(2)),
    (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)), (torch.float32, torch.float16),
    (Holding(1), Holding(2)), (Holding({"x": torch.zeros(1)}), Holding({"x": torch.ones(1)})),
    (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)), (torch.nn.ReLU(), torch.nn.GELU()),
]


@pytest.mark.parametrize("place", range(len(PAIRS)))
def test_different_things_have_different_fingerprints(place):
    one, other = PAIRS[place]
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)


def test_what_cannot_be_described_is_never_the_same():
    strange = np.random.default_rng(0)
    assert fingerprint(strange) != fingerprint(strange)


def test_a_fingerprint_is_the_same_in_another_process():
    program = ("from tests.train.test_identity import *; import sys; model = tiny_model('deepfm', DATASET); "
               "sys.stdout.write(fingerprint(model, QUICK, pruning(0.3), {'x', 'y', 'z'}, Path('a')))")
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.stdout == fingerprint(tiny_model("deepfm", DATASET), QUICK, pruning(0.3), {"x", "y", "z"}, Path("a"))

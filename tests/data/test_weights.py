"""A weight for each row: in training, in validation and in the metrics of rows."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from compression.data.batches import to_device
from compression.data.dataset import Dataset, Rows
from compression.data.encode import load_dataset
from compression.measure.quality import measure_quality
from compression.spec.errors import DataError
from compression.train.losses import task_loss
from compression.train.validation import validation_scores
from tests.data.write import COLUMNS, click_rows, write_data

WEIGHTED = [*COLUMNS, {"name": "w", "role": "weight"}]


def weighted(folder, cells):
    lines = [",".join([*(one["name"] for one in WEIGHTED)])]
    lines += [",".join([*row, cell]) for row, cell in zip(click_rows(len(cells)), cells, strict=True)]
    return load_dataset(write_data(folder, text="\n".join(lines) + "\n", columns=WEIGHTED))


def test_the_weight_of_a_row_follows_it_through_the_split_and_is_no_input(tmp_path):
    dataset = weighted(tmp_path, [f"{k + 1}" for k in range(60)])
    assert dataset.splits["test"].weight.tolist() == [55, 56, 57, 58, 59, 60]
    assert "w" not in [one.column for one in dataset.signature.singles]
    assert dataset.splits["test"].take(np.array([2])).weight.tolist() == [57]
    assert to_device(dataset.splits["train"]).weight.mean().item() == pytest.approx(1)


@pytest.mark.parametrize(("cell", "said"), [("", "holds an empty cell in data row"), ("-1", "holds -1 in data row"),
                                            ("x", "must hold numbers")])
def test_a_weight_that_is_none_is_refused(cell, said, tmp_path):
    with pytest.raises(DataError, match=said):
        weighted(tmp_path, [*["1"] * 30, cell, *["1"] * 29])


def rows_of(n: int = 400) -> tuple[np.ndarray, Rows]:
    random = np.random.default_rng(0)
    label = (random.random(n) < 0.4).astype(np.float32)
    scores = np.clip(0.3 * label + 0.6 * random.random(n), 0.01, 0.99).round(2)
    return scores, Rows({}, label, np.arange(n) // 10, random.integers(0, 4, n).astype(np.float32))


def measured(scores, rows, other=None):
    return {one.metric: one for one in measure_quality(scores, other, rows, task="ctr", split="test")}


def test_metrics_of_rows_are_those_of_scikit_learn_with_sample_weights():
    scores, rows = rows_of()
    found = measured(scores, rows)
    assert found["auc"].value == pytest.approx(roc_auc_score(rows.label, scores, sample_weight=rows.weight))
    assert found["logloss"].value == pytest.approx(log_loss(rows.label, scores, sample_weight=rows.weight))


def test_weights_that_are_all_alike_change_nothing():
    scores, rows = rows_of()
    other = np.roll(scores, 1)
    alike, plain = Rows({}, rows.label, rows.user, np.full(400, 3, np.float32)), Rows({}, rows.label, rows.user)
    for key, one in measured(scores, alike, other).items():
        two = measured(scores, plain, other)[key]
        for name in ("value", "ci_low", "ci_high", "difference", "difference_low", "difference_high"):
            got, expected = getattr(one, name), getattr(two, name)
            assert got == expected or got == pytest.approx(expected, rel=1e-6), (key, name)


def test_a_row_of_weight_two_counts_as_two_rows_and_one_of_weight_zero_as_none():
    scores, rows = rows_of()
    times = rows.weight.astype(int)
    copies = Rows({}, np.repeat(rows.label, times), np.repeat(rows.user, times))
    one, many = measured(scores, rows), measured(np.repeat(scores, times), copies)
    for key in ("auc", "logloss"):
        assert one[key].value == pytest.approx(many[key].value)
    assert one["auc"].ci_high - one["auc"].ci_low > many["auc"].ci_high - many["auc"].ci_low  # copies know no more


def test_validation_and_the_loss_of_training_are_weighted():
    scores, rows = rows_of()
    logits = np.log(scores / (1 - scores))
    found = validation_scores(("auc", "logloss"), logits, rows.label, rows.weight)
    assert found["auc"] == pytest.approx(roc_auc_score(rows.label, scores, sample_weight=rows.weight))
    assert found["logloss"] == pytest.approx(log_loss(rows.label, scores, sample_weight=rows.weight))
    device = to_device(rows)
    loss = task_loss("ctr")(torch.from_numpy(logits), device.label, device.weight)
    assert loss.item() == pytest.approx(log_loss(rows.label, scores, sample_weight=rows.weight), rel=1e-5)


def test_training_learns_the_rate_that_the_weights_say(tmp_path):
    from compression.models.zoo import build
    from compression.train.loop import train
    from compression.train.params import TrainParams

    dataset = weighted(tmp_path, ["9" if k % 2 else "1" for k in range(60)])  # the odd rows are positive
    splits = dataset.splits | dict.fromkeys(("valid", "test"), dataset.splits["train"])
    dataset = Dataset(dataset.description, dataset.signature, dataset.vocabularies, splits)
    model = build("lr", dataset.signature)
    train(model, dataset, TrainParams(epochs=60, patience=50, batch_size=64, learning_rate=0.05), seed=0)
    rows = to_device(dataset.splits["train"])
    with torch.inference_mode():
        assert torch.sigmoid(model(rows.inputs)).mean().item() > 0.75  # without weights it is about .5

"""Scores and rows of a split on the device."""

import numpy as np
import torch

from compression.data.batches import score_rows, to_device
from compression.testing.tiny import tiny_dataset, tiny_model


def test_scores_do_not_depend_on_the_batch_size_and_leave_the_mode_alone():
    dataset = tiny_dataset(rows=400)
    model = tiny_model("deepfm", dataset).train()
    rows = to_device(dataset.splits["train"])
    whole = score_rows(model, rows)
    assert np.allclose(whole, score_rows(model, rows, batch_size=7), atol=1e-6)
    assert model.training


def test_rows_are_sliced_in_the_order_asked_for():
    rows = to_device(tiny_dataset(rows=100).splits["train"])
    batch, label = rows.take(torch.tensor([5, 2]))
    assert batch["genres"].shape == (2, 3)
    assert torch.equal(batch["user"], rows.inputs["user"][[5, 2]])
    assert torch.equal(label, rows.label[[5, 2]])

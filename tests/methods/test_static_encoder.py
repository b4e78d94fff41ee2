"""Every method on static embeddings of texts, a model of one table alone: it is changed or skipped with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compression.data.dataset import Dataset, Rows
from compression.models.uploaded import build
from compression.spec.errors import RecPressError
from compression.spec.method import METHODS
from compression.spec.records import Part
from compression.spec.signature import Input, Signature
from compression.testing.steps import apply, logits
from compression.testing.tiny import tiny_dataset

ROWS, LENGTH = 24, 4
NAMES = [f"{text}{name}" for text in ("query_", "document_") for name in ("input_ids", "attention_mask")]


@pytest.fixture(scope="module")
def texts() -> Dataset:
    """Pairs of texts; those that share a token are alike."""
    log, draw = tiny_dataset(rows=400), np.random.default_rng(0)

    def made(n_rows: int) -> Rows:
        ids = {text: np.minimum(draw.zipf(1.4, (n_rows, LENGTH)), ROWS - 1) for text in ("query_", "document_")}
        masks = {text: (np.arange(LENGTH) < draw.integers(1, LENGTH + 1, (n_rows, 1))).astype(np.int64) for text in ids}
        inputs = {name: values for text in ids for name, values in (
            (f"{text}input_ids", ids[text] * masks[text]), (f"{text}attention_mask", masks[text]))}
        alike = (ids["query_"][:, :1] == ids["document_"]).any(1)
        return Rows(inputs, alike.astype(np.float32), np.arange(n_rows))

    signature = Signature(inputs=tuple(
        Input(name=name, kind="multi", column=name, cardinality=ROWS if name.endswith("ids") else 2, max_length=LENGTH,
              length_of="" if name.endswith("ids") else name.replace("attention_mask", "input_ids"), ids="as-is")
        for name in NAMES))
    return Dataset(log.description, signature, {}, {"train": made(280), "valid": made(60), "test": made(60)})


@pytest.fixture(scope="module")
def model(texts):
    return build("static_encoder", texts.signature, {"embedding_dim": 8, "length": LENGTH, "output": "pair"}).eval()


@pytest.mark.parametrize("key", METHODS)
def test_a_method_changes_the_table_or_says_why_not(key, texts, model):
    before = logits(model, texts)
    try:
        given = apply(key, model, texts, **METHODS[key].tiny)
    except RecPressError as error:
        assert len(str(error).split()) > 5  # a sentence, as the run would give it
        return
    scores = logits(given.model, texts)
    assert scores.shape == before.shape and bool(torch.isfinite(scores).all())
    told = {one.module for one in (*given.changes, *given.skipped)}
    assert "token" in told or Part.EMBEDDING not in METHODS[key].parts or METHODS[key].trains
    assert torch.equal(before, logits(model, texts))

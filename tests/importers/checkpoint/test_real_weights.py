"""Weights that others trained and published, against the figures and settings that came with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compression.export.onnx import export_onnx
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.runtimes.onnxruntime import open_session

pytestmark = pytest.mark.realdata
MODELS = Path(__file__).parents[4] / "shared" / "data" / "models"
GMF = MODELS / "ncf_gmf_pytorch"
SASREC = MODELS / "sasrec_state_dict"


def candidates() -> tuple[np.ndarray, np.ndarray]:
    """(U,) users and (U, 100) items: the one that was rated first, then the 99 that were not."""
    users, items = [], []
    for line in (GMF / "ml-1m.test.negative").read_text().splitlines():
        pair, *negatives = line.split("\t")
        user, positive = pair.strip("()").split(",")
        users.append(int(user))
        items.append([int(positive), *map(int, negatives)])
    return np.array(users), np.array(items)


@pytest.mark.skipif(not GMF.exists(), reason=f"{GMF} is not there")
def test_a_published_gmf_keeps_its_hit_rate_and_ndcg_through_import_and_export(tmp_path):
    (path,) = GMF.glob("*.model")
    description = read_upload({"gmf.model": path}, tmp_path / "model")
    assert "recognised as GMF" in description.notes[0]
    assert [one.key for one in description.questions] == ["output_form"]
    loaded = load_model(tmp_path / "model")
    session = open_session(export_onnx(loaded.module, loaded.signature, tmp_path / "model.onnx").path)
    users, items = candidates()
    scores = session.score({"user": users.repeat(100), "item": items.ravel()}).reshape(items.shape)
    place = (scores[:, 1:] > scores[:, :1]).sum(1)  # of the rated item among the hundred, from 0
    hits = place < 10
    assert len(users) == 6040
    assert hits.mean() == pytest.approx(0.6477, abs=5e-5)
    assert (hits / np.log2(place + 2)).mean() == pytest.approx(0.3734, abs=5e-5)


@pytest.mark.skipif(not SASREC.exists(), reason=f"{SASREC} is not there")
def test_a_published_sasrec_is_read_with_the_settings_beside_it(tmp_path):
    said = dict(line.split(",", 1) for line in (SASREC / "args.txt").read_text().splitlines())
    files = {"sasrec.pth": SASREC / "e720.pth", "args.txt": SASREC / "args.txt"}
    description = read_upload(files, tmp_path / "model")
    decided = {one.key: (one.answer, one.decided_by) for one in description.questions}
    assert decided["blocks.heads"] == (int(said["num_heads"]), "file")
    loaded = load_model(tmp_path / "model")
    assert loaded.signature.inputs[0].max_length == int(said["maxlen"])
    assert loaded.config["blocks"]["n_blocks"] == int(said["num_blocks"])

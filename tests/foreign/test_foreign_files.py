"""Files that RecBole, FuxiCTR, DeepCTR-Torch, torch-rechub, Lightning and Keras made: they import with their scores.

    FOREIGN_LIBRARIES=1 python -m pytest tests/foreign -s

Each library is installed in a throw-away environment that borrows torch from this one, trains small models on made-up
data, and leaves files and scores. Results: docs/results/foreign_files.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.folder import LoadedModel
from compression.spec.errors import ModelError

pytestmark = [pytest.mark.foreignlib, pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.skipif(
    os.environ.get("FOREIGN_LIBRARIES") != "1", reason="installs libraries: set FOREIGN_LIBRARIES=1 to run it")]
HERE = Path(__file__).parent
PACKAGES = {  # what a library needs beside torch and what is installed here; itself without its own pins
    "recbole": ("recbole==1.2.1", ["pandas<3", "scipy", "scikit-learn", "tqdm", "colorlog==4.7.2", "colorama==0.4.4",
                                   "tensorboard", "thop", "tabulate", "texttable"]),
    "fuxictr": ("fuxictr==2.3.10", ["pandas<3", "polars<2", "scikit-learn", "tqdm", "ray[data]"]),
    "deepctr": ("deepctr-torch==0.3.0", ["pandas<3", "scikit-learn", "tqdm"]),
    "rechub": ("torch-rechub==0.9.0", ["pandas<3", "scikit-learn", "tqdm"]),
    "lightning": ("lightning==2.6.6", ["lightning==2.6.6"]), "keras": ("keras==3.15.1", ["keras==3.15.1"])}
PROBABILITIES = {"NeuMF", "GMF", "MLP", "LR", "FM", "DeepFM", "WideDeep", "DCNV2", "DCNV2_parallel", "mlp", "factors",
                 "sequential", "DCNv2", "DCNv2_stacked", "DCN", "DCN_matrix", "WDL", "DeepFM_lists", "DeepFM_ids",
                 "WideDeep_all", "WideDeep_ids"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Any:
    """Folder of a library's files, made at the first call."""
    folders: dict[str, Path] = {}

    def folder_of(library: str) -> Path:
        if library not in folders:
            folders[library] = _train(library, tmp_path_factory.mktemp(library))
        return folders[library]

    return folder_of


def _train(library: str, folder: Path) -> Path:
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    places = {"base": str(folder / "env"), "platbase": str(folder / "env")}
    site = Path(sysconfig.get_path("purelib", vars=places))
    (site / "zz_borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    package, needed = PACKAGES[library]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    for more in (["--no-deps", package], needed):
        subprocess.run([python, "-m", "pip", "install", "-q", *more], check=True, env=environment, capture_output=True)
    subprocess.run([python, HERE / f"train_{library}.py", folder / "out"], check=True, env=environment, cwd=folder,
                   stdout=subprocess.DEVNULL, stderr=sys.stderr)
    return folder / "out"


def _agrees(library: str, name: str, loaded: LoadedModel, batch: dict[str, np.ndarray], expected: np.ndarray) -> None:
    tensors = {key: torch.from_numpy(value.astype(np.float32 if value.dtype.kind == "f" else np.int64))
               for key, value in batch.items()}
    with torch.no_grad():
        scores = loaded.module(tensors)
    scores = (torch.sigmoid(scores) if name in PROBABILITIES else scores).numpy()
    difference = np.abs(scores - expected.reshape(-1)).max()
    print(f"{library} {name}: {difference:.1e} over scores of {expected.min():.3f} to {expected.max():.3f}")
    assert expected.std() > 1e-3 and difference < 1e-5


@pytest.mark.parametrize("name", ["BPR", "NeuMF", "GMF", "MLP", "LR", "FM", "DeepFM", "WideDeep", "DCNV2",
                                  "DCNV2_parallel", "SASRec", "GRU4Rec"])
def test_recbole(name, made, tmp_path):
    folder = made("recbole")
    files = {"m.pth": folder / f"{name}.pth", "d.pth": folder / f"{name}-dataset.pth"}
    description = read_upload(files, tmp_path / "model")
    assert all(one.decided_by == "file" for one in description.questions)
    loaded, rows = load_model(tmp_path / "model"), np.load(folder / f"{name}.npz")
    assert set(loaded.vocabularies) >= {one.column for one in loaded.signature.inputs if one.kind != "number"}
    batch = {one.name: rows[one.column][:, 0] if one.kind == "number" else rows[one.column]
             for one in loaded.signature.inputs}
    _agrees("recbole", name, loaded, batch, rows["scores"])


def test_a_model_of_recbole_that_is_not_read_is_named(made, tmp_path):
    with pytest.raises(ModelError, match="RecBole's Caser, which RecPress can't rebuild"):
        read_upload({"m.pth": made("recbole") / "Caser.pth"}, tmp_path / "model")


@pytest.mark.parametrize("name", ["LR", "FM", "DeepFM", "WideDeep", "DCNv2", "DCNv2_stacked"])
def test_fuxictr(name, made, tmp_path):
    folder = made("fuxictr")
    files = {"m.model": folder / f"{name}.model", "model_config.yaml": folder / f"{name}.yaml",
             **{one: folder / one for one in ("feature_map.json", "feature_vocab.json")}}
    description = read_upload(files, tmp_path / "model")
    assert all(one.decided_by == "file" for one in description.questions)
    loaded, rows = load_model(tmp_path / "model"), np.load(folder / f"{name}.npz")
    unseen = {column: words["__OOV__"] for column, words in json.loads(
        (folder / "feature_vocab.json").read_text()).items()}
    batch = {one.name: np.where(rows[one.column] == unseen[one.column], 0, rows[one.column])
             if one.kind == "category" else rows[one.column] for one in loaded.signature.inputs}
    batch = {key: value.astype(np.float32) if key == "age" else value for key, value in batch.items()}
    _agrees("fuxictr", name, loaded, batch, rows["scores"])


@pytest.mark.parametrize(("library", "name", "answers"), [
    ("deepctr", "DeepFM", {"mlp.activation": "sigmoid"}), ("deepctr", "DeepFM_lists", {"lists": ["tags"]}),
    ("deepctr", "WDL", {"pairs": False}), ("deepctr", "DCN", {}), ("deepctr", "DCN_matrix", {}),
    ("rechub", "DeepFM", {}), ("rechub", "DeepFM_ids", {}), ("rechub", "WideDeep", {}), ("rechub", "WideDeep_all", {}),
    ("rechub", "WideDeep_ids", {"pairs": False}), ("rechub", "DCN", {}), ("rechub", "DCNv2", {}),
    ("rechub", "DCNv2_stacked", {})])
def test_click_models_of_libraries_that_save_weights_alone(library, name, answers, made, tmp_path):
    folder = made(library)
    answers = answers | ({} if name == "DeepFM_ids" else {"numbers": ["age", "price"]})
    description = read_upload({"m.pth": folder / f"{name}.pth"}, tmp_path / "model", binding={"answers": answers})
    assert ("pairs" in {one.key for one in description.questions}) == (
        name.startswith(("DeepFM", "WDL")) or name == "WideDeep_ids")
    loaded, rows = load_model(tmp_path / "model"), np.load(folder / f"{name}.npz")
    _agrees(library, name, loaded, {one.name: rows[one.name] for one in loaded.signature.inputs}, rows["scores"])


@pytest.mark.parametrize(("library", "name", "part"), [
    ("deepctr", "DCNMix", "crossnet.U_list"), ("deepctr", "xDeepFM", "cin.conv1ds"),
    ("rechub", "DCNv2_mixture", "crossnet.u_list")])
def test_parts_of_their_models_that_are_not_read_are_named(library, name, part, made, tmp_path):
    with pytest.raises(ModelError, match=f"parts that RecPress can't rebuild: {part}"):
        read_upload({"m.pth": made(library) / f"{name}.pth"}, tmp_path / "model")


@pytest.mark.parametrize(("name", "answers", "told"), [
    ("deepfm", {}, {"mlp.activation": "tanh"}),
    ("history", {"padding": "end", "scale": "none"},
     {"blocks.heads": 4, "blocks.norm": "pre", "blocks.activation": "gelu"})])
def test_lightning(name, answers, told, made, tmp_path):
    folder = made("lightning")
    description = read_upload({"m.ckpt": folder / f"{name}.ckpt"}, tmp_path / "model", binding={"answers": answers})
    assert {one.key: one.answer for one in description.questions if one.decided_by == "file"} == told
    loaded, rows = load_model(tmp_path / "model"), np.load(folder / f"{name}.npz")
    names, ids = [one.name for one in loaded.signature.inputs], rows["ids"]
    batch = dict(zip(names, ids.T, strict=True)) if name == "deepfm" else {names[0]: ids[:, :-1], names[1]: ids[:, -1]}
    _agrees("lightning", name, loaded, batch, rows["scores"])


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("name", ["mlp", "factors", "neumf", "sequential"])
def test_keras(name, ending, made, tmp_path):
    folder = made("keras")
    files = {f"m{ending}": folder / f"{name}{ending}"} | (
        {"m.json": folder / f"{name}.json"} if ending == ".weights.h5" else {})
    rows = np.load(folder / f"{name}.npz")
    lists = {one: {"kind": "multi", "column": one} for one in ("tags", "ids") if one in rows.files}
    read_upload(files, tmp_path / "model", binding={
        "inputs": lists, "output_form": "probability" if name in PROBABILITIES else "logit"})
    loaded = load_model(tmp_path / "model")
    batch = {one.name: rows[one.name] if rows[one.name].shape[1] > 1 else rows[one.name][:, 0]
             for one in loaded.signature.inputs}
    _agrees(f"keras{ending}", name, loaded, batch, rows["scores"])


def test_a_lambda_of_keras_is_named(made, tmp_path):
    with pytest.raises(ModelError, match="is a Lambda: it holds code, which is never run"):
        read_upload({"m.keras": made("keras") / "lambda.keras"}, tmp_path / "model")

"""A small sound upload of every kind, for the fuzz to change; payloads lie where loading would run them."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn

from compression.models.files import save_model
from compression.models.folder import LoadedModel
from compression.testing.tiny import tiny_dataset, tiny_model
from tests.importers.checkpoint.fuxictr import Model as FuxiCTR
from tests.importers.checkpoint.fuxictr import fuxictr_files
from tests.importers.checkpoint.recbole import (
    CONTEXT,
    KINDS,
    WORDS,
    Context,
    recbole_checkpoint,
    recbole_dataset,
)
from tests.importers.checkpoint.tools import lightning_sasrec
from tests.importers.folders import bert_state, write_folder
from tests.importers.folders import zipped as zipped_folder
from tests.importers.keras.make import keras_zip, named, save_weights_h5, two_fields, weights_h5
from tests.security.hostile import Files, Payload, graph, pickled, zipped


class Small(nn.Module):
    """A table, a dense layer and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(9, 4), nn.Linear(4, 1)
        self.register_buffer("shift", torch.ones(1))

    def forward(self, user: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.table(user))).squeeze(-1) + self.shift


def program_members() -> dict[str, bytes]:
    """The members of an exported program, without the name of the archive."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(Small().eval(), (torch.arange(5),),
                                              dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


def program(canary: Path) -> Files:
    """Its sample inputs, which are never opened, are payloads."""
    members = program_members()
    members |= {name: pickled(canary) for name in members if name.startswith("data/sample_inputs/")}
    named = {f"archive/{name}": content for name, content in members.items()}
    return {"m.pt2": zipped(named, compression=zipfile.ZIP_STORED)}


def onnx_file(canary: Path) -> Files:
    return {"m.onnx": graph().SerializeToString()}


def onnx_with_data(canary: Path) -> Files:
    """The table lies in a file beside the graph."""
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(graph(), f"{folder}/m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=64)
        return {name: (Path(folder) / name).read_bytes() for name in ("m.onnx", "m.onnx.data")}


@functools.cache
def zoo_folder() -> Files:
    """A small FM as the app keeps it: config.json, vocabularies.json and weights."""
    dataset = tiny_dataset(rows=200)
    model = tiny_model("fm", dataset)
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), LoadedModel(model, dataset.signature, dataset.vocabularies, "fm", model.config))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def zoo_weights(canary: Path) -> Files:
    return dict(zoo_folder())


def checkpoint(canary: Path, *, new: bool) -> Files:
    """The weights saved by torch.save, with a payload beside them."""
    files = dict(zoo_folder())
    weights = next(name for name in files if name.endswith(".safetensors"))
    from safetensors.torch import load

    buffer = io.BytesIO()
    torch.save({"state_dict": load(files.pop(weights)), "evil": Payload(canary)}, buffer,
               _use_new_zipfile_serialization=new)
    return files | {"m.pth": buffer.getvalue()}


def lightning(canary: Path) -> Files:
    """A checkpoint with a payload among its hyper-parameters."""
    return {"m.ckpt": lightning_sasrec(callback=Payload(canary))[1]}


def recbole(canary: Path) -> Files:
    """A checkpoint and the dataset beside it, each with a payload in its object."""
    return {"m.pth": recbole_checkpoint("DeepFM", Context("DeepFM").state_dict(), CONTEXT, evil=Payload(canary)),
            "d.pth": recbole_dataset(KINDS, WORDS, evil=Payload(canary))}


def fuxictr(canary: Path) -> Files:
    """Weights beside the feature map, the vocabulary and the settings."""
    return fuxictr_files(FuxiCTR("DeepFM"))


def keras(canary: Path) -> Files:
    """A model as Keras 3 saves it, without its list of ids, which a person has to bind."""
    config, arrays = two_fields()
    return {"m.keras": keras_zip(config, weights_h5(arrays))}


def keras_weights(canary: Path) -> Files:
    """Weights alone, and the text of model.to_json()."""
    config, arrays = two_fields()
    return {"m.weights.h5": weights_h5(arrays), "m.json": json.dumps(config).encode()}


def keras_2_weights(canary: Path) -> Files:
    """What save_weights of Keras 2 writes, alone."""
    return {"m.h5": save_weights_h5(named(two_fields()[1]))}


def bundle(canary: Path) -> Files:
    """What is inside a zip: the graph, and text that describes it."""
    inside = {"model.onnx": graph().SerializeToString(), "predict.py": f"open({str(canary)!r}, 'w')\n".encode(),
              "vocabularies.json": b'{"user": ["a", "b", "c"]}'}
    return {"bundle.zip": zipped(inside)}


@functools.cache
def encoder_zip() -> bytes:
    """A sentence encoder as a zip, a folder of pooling in it."""
    with tempfile.TemporaryDirectory() as folder:
        made = zipped_folder(write_folder(Path(folder) / "bert", bert_state(), modules=["Pooling", "Normalize"]))
        return made["bert.zip"].read_bytes()


def encoder(canary: Path) -> Files:
    return {"bert.zip": encoder_zip()}


SOUND: dict[str, Callable[[Path], Files]] = {
    "onnx": onnx_file,
    "onnx with data": onnx_with_data,
    "pt2": program,
    "safetensors": zoo_weights,
    "checkpoint": functools.partial(checkpoint, new=True),
    "old checkpoint": functools.partial(checkpoint, new=False),
    "bundle": bundle,
    "lightning": lightning,
    "recbole": recbole,
    "fuxictr": fuxictr,
    "hugging face": encoder,
    "keras": keras,
    "keras weights": keras_weights,
    "keras 2 weights": keras_2_weights,
}

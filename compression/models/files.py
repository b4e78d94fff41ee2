"""Models on disk: config.json, model.safetensors, vocabularies.json. Nothing in them is ever executed.

What comes in is checked before memory is taken for it: names and shapes against the architecture, bytes against
the file, values for NaN and infinity.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from compression.models.folder import CONFIG, ONNX, VOCABULARIES, WEIGHTS, LoadedModel, read_json, read_vocabularies
from compression.models.structure import declare_padding
from compression.models.uploaded import FOREIGN, build, parse_config
from compression.spec.errors import ModelError
from compression.spec.signature import MAX_INPUTS, Signature

FORMAT = "recpress-model"
VERSION = 1
MAX_CONFIG_BYTES = 2_000_000
DTYPES = {torch.float32: "F32", torch.int64: "I64"}


def save_model(folder: Path, loaded: LoadedModel) -> None:
    """Write a model of the zoo. Raises ModelError if its layers were replaced: such a model is exported instead."""
    folder = Path(folder)
    with torch.device("meta"):
        expected = build(loaded.architecture, loaded.signature, loaded.config).state_dict()
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in loaded.module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if found != {name: tuple(tensor.shape) for name, tensor in expected.items()}:
        raise ModelError(f"The model no longer has the layers of {loaded.architecture} with its settings, so it can't "
                         "be saved as one. Export it: the bundle holds any model.")
    folder.mkdir(parents=True, exist_ok=True)
    config = {"format": FORMAT, "version": VERSION, "architecture": loaded.architecture, "config": loaded.config,
              "signature": loaded.signature.model_dump(mode="json")}
    (folder / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / VOCABULARIES).write_text(json.dumps(loaded.vocabularies, ensure_ascii=False), encoding="utf-8")
    save_file(state, folder / WEIGHTS)


def load_model(folder: Path) -> LoadedModel:
    """The model in `folder`, in eval mode. Raises ModelError with what is wrong and what to do."""
    folder = Path(folder)
    if (folder / ONNX).exists():
        from compression.models.onnx.folder import read_onnx_folder

        return read_onnx_folder(folder)
    architecture, settings, signature = _read_config(folder / CONFIG)
    vocabularies = read_vocabularies(folder / VOCABULARIES, signature)
    module = _load_weights(folder / WEIGHTS, architecture, settings, signature)
    return LoadedModel(module, signature, vocabularies, architecture, module.config)


def _read_config(path: Path) -> tuple[str, dict[str, Any], Signature]:
    plain = read_json(path, MAX_CONFIG_BYTES)
    keys = {"format", "version", "architecture", "config", "signature"}
    if not isinstance(plain, dict) or set(plain) != keys:
        got = ", ".join(sorted(map(str, plain))) if isinstance(plain, dict) else type(plain).__name__
        raise ModelError(f"{path.name} must be an object with {', '.join(sorted(keys))}; got {got or 'nothing'}.")
    if plain["format"] != FORMAT or plain["version"] != VERSION:
        raise ModelError(f"{path.name} must say format {FORMAT!r}, version {VERSION}; got {plain['format']!r}, version "
                         f"{plain['version']!r}.")
    if not isinstance(plain["architecture"], str) or not isinstance(plain["config"], dict):
        raise ModelError(f"In {path.name}, architecture must be a name and config an object of settings.")
    parse_config(plain["architecture"], plain["config"])
    try:
        signature = Signature.model_validate(plain["signature"])
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        raise ModelError(f"The signature in {path.name} can't be read: {where}.") from None
    _check_signature(signature, path.name)
    return plain["architecture"], plain["config"], signature


def _check_signature(signature: Signature, file: str) -> None:
    names = [item.name for item in signature.inputs]
    if len(names) > MAX_INPUTS:
        raise ModelError(f"The signature in {file} has {len(names)} inputs; at most {MAX_INPUTS} are allowed.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ModelError(f"The signature in {file} names the input {repeated[0]!r} twice; names must differ.")
    for item in signature.inputs:
        if item.kind != "number" and item.cardinality is None:
            raise ModelError(f"The input {item.name!r} in {file} is a {item.kind} and needs a cardinality: the number "
                             "of rows of its table.")


def _load_weights(path: Path, architecture: str, settings: dict[str, Any], signature: Signature) -> nn.Module:
    if not path.exists():
        raise ModelError(f"The model has no {path.name}; upload it together with {CONFIG} and {VOCABULARIES}.")
    size = path.stat().st_size
    rows = sum(item.cardinality or 0 for item in signature.inputs if item.kind != "number")
    if rows * 4 > size:  # one float a row is the least there can be; guards the shapes below against overflow
        raise ModelError(f"{path.name} has {size:,} bytes, too few for the {rows:,} table rows that {CONFIG} "
                         "describes. The file is truncated or belongs to another model.")
    with torch.device("meta"):  # shapes without memory
        module = build(architecture, signature, settings)
    try:
        with safe_open(path, framework="pt") as file:
            _check_header(file, module.state_dict(), path.name)
            state = {name: _finite(name, file.get_tensor(name).clone(), path.name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path.name} is not a whole safetensors file ({error}). It is truncated or of another "
                         "format; save it again with safetensors and upload it.") from None
    module.load_state_dict(state, assign=True)
    return (declare_padding(module) if architecture in FOREIGN else module).eval()


def _check_header(file: Any, expected: dict[str, torch.Tensor], name: str) -> None:
    """Names, shapes and types by the header alone, before any tensor is read."""
    found = set(file.keys())
    missing, extra = sorted(set(expected) - found), sorted(found - set(expected))
    if missing or extra:
        said = []
        if missing:
            said.append(f"misses {_some(missing)}")
        if extra:
            said.append(f"has {_some(extra)}, which the architecture doesn't know")
        raise ModelError(f"{name} {' and '.join(said)}. Check the architecture and the settings in {CONFIG}.")
    for key, tensor in expected.items():
        part = file.get_slice(key)
        shape, dtype = tuple(part.get_shape()), part.get_dtype()
        if shape != tuple(tensor.shape):
            raise ModelError(f"{key} in {name} has shape {_times(shape)}; {CONFIG} asks for {_times(tensor.shape)}.")
        if dtype != DTYPES[tensor.dtype]:
            raise ModelError(f"{key} in {name} is stored as {dtype}; it must be {DTYPES[tensor.dtype]}. "
                             "Convert it and save it again.")


def _finite(key: str, tensor: torch.Tensor, name: str) -> torch.Tensor:
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        count = int((~torch.isfinite(tensor)).sum())
        raise ModelError(f"{key} in {name} has {count} of {tensor.numel()} values that are NaN or infinite. "
                         "Its training diverged: take an earlier checkpoint or train with a lower learning rate.")
    return tensor


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _times(shape: Any) -> str:
    return " × ".join(map(str, shape)) or "scalar"

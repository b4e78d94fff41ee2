"""Weights without a graph: a checkpoint, safetensors or HDF5 file as tensors by name, and what a training tool told."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from compression.importers.beside import vocabularies_of
from compression.importers.checkpoint.frameworks import told_by
from compression.importers.checkpoint.graph import layers_by_name
from compression.importers.checkpoint.lightning import is_lightning, without_losses
from compression.importers.checkpoint.safetensors_file import safetensors_metadata, safetensors_state
from compression.importers.checkpoint.told import Told
from compression.importers.checkpoint.torch_file import TorchFile, as_plain_types, read_torch_file, weights_of
from compression.importers.format_sniffing import is_checkpoint_name, is_keras_file
from compression.importers.keras.state import keras_state
from compression.spec.errors import ModelError


def state_and_told(files: dict[str, Path], weights: str, data_folder: Path | None = None
                   ) -> tuple[dict[str, Tensor], Told]:
    """The tensors by name, and what a training tool told of them. Raises ModelError."""
    if is_checkpoint_name(weights):
        found = read_torch_file(files[weights], weights)
        state = weights_of(found)
        state = without_losses(state) if is_lightning(found.values) else state
    elif is_keras_file(files[weights]):
        state, notes = keras_state(files[weights], weights)
        if not state:
            raise no_tensors(weights)
        return state, Told(notes=notes)
    else:
        safetensors_metadata(files[weights], weights)
        found = TorchFile()
        state = as_plain_types(safetensors_state(files[weights], weights))
    if not state:
        raise no_tensors(weights)
    told = told_by(found.values, files, vocabularies=vocabularies_of(files), data_folder=data_folder)
    told.settings |= layers_by_name(weights, state)
    return state, told


def no_tensors(name: str) -> ModelError:
    return ModelError(f"{name} holds no tensors. Save the weights: torch.save(model.state_dict(), …).")

"""Weights of a model of the zoo: config.json says what they are, beside them or in the metadata of the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from compression.importers.beside import CONFIG, VOCABULARIES, json_of, parsed_json, vocabularies_of
from compression.importers.checkpoint.safetensors_file import safetensors_metadata
from compression.importers.format import Format, Given, Upload, importer
from compression.importers.format_sniffing import CHECKPOINTS, WEIGHT_ENDINGS, is_checkpoint_name
from compression.importers.inspection import Look
from compression.spec.errors import ModelError
from compression.spec.records import ModelDescription
from compression.spec.signature import Signature


def has_config(upload: Upload) -> bool:
    """Whether a config.json of ours lies beside the weights or in their metadata; other tools' files count as none."""
    if CONFIG in upload.files:
        plain = json_of(upload.files[CONFIG], CONFIG)
        return not isinstance(plain, dict) or "format" in plain or "signature" in plain
    return CONFIG.removesuffix(".json") in _metadata(upload)


def look(upload: Upload) -> Look:
    """It knows its columns; what is wrong with its config the import says."""
    vocabularies_of(upload.files)
    try:
        text = upload.files[CONFIG].read_bytes() if CONFIG in upload.files else _metadata(upload)["config"]
        plain = json.loads(text)
        signature = Signature.model_validate(plain["signature"])
        return Look(str(plain["architecture"])[:200], reads=tuple(one.column for one in signature.singles))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Look("config")


def read(upload: Upload, out: Path, given: Given) -> ModelDescription:
    from compression.importers.description import describe_read
    from compression.models.files import WEIGHTS, load_model

    out.mkdir(parents=True, exist_ok=True)
    metadata = _metadata(upload)
    for name in (CONFIG, VOCABULARIES):
        if name in upload.files:
            plain = json_of(upload.files[name], name)
        elif name.removesuffix(".json") in metadata:
            plain = parsed_json(metadata[name.removesuffix(".json")], f"the metadata of {upload.name}")
        else:
            continue
        (out / name).write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    if given.binding:
        raise ModelError("A model of the zoo knows its columns: its signature is in config.json. Leave the binding "
                         "empty.")
    (out / WEIGHTS).unlink(missing_ok=True)
    if is_checkpoint_name(upload.name):
        _convert(upload, out / WEIGHTS)
    else:
        shutil.copyfile(upload.path, out / WEIGHTS)
    return describe_read(load_model(out), out.parent)


def _metadata(upload: Upload) -> dict[str, str]:
    return {} if is_checkpoint_name(upload.name) else safetensors_metadata(upload.path, upload.name)


def _convert(upload: Upload, out: Path) -> None:
    """The weights of a file of torch.save, read without running it, as safetensors."""
    from safetensors.torch import save_file

    from compression.importers.checkpoint.state import no_tensors
    from compression.importers.checkpoint.torch_file import read_torch_file, weights_of

    tensors = weights_of(read_torch_file(upload.path, upload.name))
    if not tensors:
        raise no_tensors(upload.name)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, out)


importer(Format(key="zoo", binary=True, title="weights with config.json and vocabularies.json", endings=WEIGHT_ENDINGS,
                companions=(".json",), helpers=(CONFIG, VOCABULARIES), sniff=has_config, look=look, read=read,
                admits=CHECKPOINTS))

"""Turn uploaded files into a model folder. Runs inside the sandboxed child; every way it can go wrong is a ModelError.

    files → refuse what can run code → unpack a bundle → zoo model or ONNX → folder and description
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compression.data.cells import repeated
from compression.importers.archive import unpack
from compression.importers.format_sniffing import (
    CHECKPOINT_ENDINGS,
    EXPORTED_ENDING,
    KERAS_ENDINGS,
    READ_ENDINGS,
    is_recbole_dataset,
    refuse_dangerous,
)
from compression.importers.hugging_face.settings import MODULE_FOLDER, MODULES, is_hugging_face
from compression.spec.errors import ModelError
from compression.spec.names import PLAIN_NAME
from compression.spec.plain_text import unique_keys
from compression.spec.records import ModelDescription

MAX_FILES = 64
MAX_JSON_BYTES = 256 << 20  # vocabularies of millions of ids
MAX_METADATA_BYTES = 100_000_000  # the limit of the safetensors format itself
SUMS = "SHA256SUMS"
MAX_SUMS_CHARS = 100_000
_GRAPHS = (".onnx", EXPORTED_ENDING, *KERAS_ENDINGS)
_SIGNATURES = ("binding.json", "signature.json")


def read_upload(files: dict[str, Path], out: Path, *, data_folder: Path | None = None,
                binding: dict[str, Any] | None = None) -> ModelDescription:
    """Check the files and write the model into `out`. Raises ModelError with what is wrong and what to do."""
    with checked_upload(files, out.parent) as (files, name):
        if is_weights(name):
            if has_config(files, name):
                return _read_zoo(files, name, out, binding)
            if is_hugging_face(files):
                from compression.importers.hugging_face.reader import read_hugging_face

                return read_hugging_face(files, name, out, given=binding or {}, data_folder=data_folder,
                                         vocabularies=vocabularies_of(files))
            return _read_weights(files, name, out, binding or {}, data_folder)
        from compression.importers.keras.reader import read_keras_model
        from compression.importers.onnx.reader import read_onnx
        from compression.importers.pt2.reader import read_exported_program

        about = {"given": binding or signature_beside(files), "vocabularies": vocabularies_of(files),
                 "data_folder": data_folder}
        if name.lower().endswith(EXPORTED_ENDING):
            return read_exported_program(files[name], name, out, **about)
        if is_keras(name):
            return read_keras_model(files, name, out, **about)
        return read_onnx(files[name], name, files, out, **about)


@contextmanager
def checked_upload(files: dict[str, Path], scratch: Path) -> Iterator[tuple[dict[str, Path], str]]:
    """(the files, out of their bundle where they came in one, and which of them is the model). Raises ModelError."""
    _check_names(files)
    for name, path in files.items():
        refuse_dangerous(path, name)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=scratch) as folder:
        files = _unpacked(files, Path(folder))
        models = [name for name in files if is_weights(name) or Path(name).suffix.lower() in _GRAPHS]
        models = [name for name in models if not is_recbole_dataset(files[name])]
        if MODULES in files:  # layers behind an encoder have weights of their own
            models = [name for name in models if not MODULE_FOLDER.fullmatch(name.partition(".")[0])]
        if len(models) != 1:
            found = ", ".join(sorted(models)) or ", ".join(sorted(files))
            raise ModelError(f"Upload one model at a time: an .onnx file with its data, a .pt2, a .keras, a "
                             f".safetensors file or checkpoint with its config.json and vocabularies.json, or a "
                             f"RecPress bundle (.zip). Got: {found}.")
        yield files, models[0]


def is_weights(name: str) -> bool:
    """Whether a file holds weights without a graph, by its name."""
    return name.lower().endswith(".safetensors") or _is_checkpoint(name)


def is_keras(name: str) -> bool:
    """Whether a file is a model of Keras, by its name."""
    return Path(name).suffix.lower() in KERAS_ENDINGS


def signature_beside(files: dict[str, Path]) -> dict[str, Any]:
    """The signature or binding that came with a graph; {} where none did."""
    extras = [_json(files[name], name) for name in _SIGNATURES if name in files]
    came = extras[0] if extras else {}
    return came.get("signature", came) if isinstance(came, dict) else {}


def _check_names(files: dict[str, Path]) -> None:
    if not files:
        raise ModelError("No file was uploaded.")
    if len(files) > MAX_FILES:
        raise ModelError(f"{len(files)} files were uploaded; a model has at most {MAX_FILES}.")
    for name, path in files.items():
        if not PLAIN_NAME.fullmatch(name):
            raise ModelError(f"A file is named {name!r}; letters, digits, '.', '_' and '-' are allowed. Rename it.")
        if not path.is_file():
            raise ModelError(f"{name} did not arrive; upload it again.")
        if path.stat().st_size == 0 and not name.endswith(".data"):
            raise ModelError(f"{name} is empty; upload it again.")


def _unpacked(files: dict[str, Path], scratch: Path) -> dict[str, Path]:
    """The files, or those inside the one bundle; what comes out of a zip is looked at like an upload."""
    bundles = [name for name in files if name.lower().endswith(".zip")]
    if not bundles:
        return files
    if len(files) > 1:
        raise ModelError(f"Upload the bundle {bundles[0]} alone, without other files.")
    inside = unpack(files[bundles[0]], bundles[0], scratch / "bundle")
    if SUMS in inside:
        _check_digests(inside, bundles[0])
    kept = {name: path for name, path in inside.items() if Path(name).suffix.lower() in READ_ENDINGS}
    for name, path in kept.items():
        if name.lower().endswith(".zip"):
            raise ModelError(f"{bundles[0]} holds another archive ({name}), which is not unpacked.")
        refuse_dangerous(path, name)
    return kept


def _check_digests(files: dict[str, Path], bundle: str) -> None:
    """Every file that the bundle's list of digests names has the digest it says."""
    lines = files[SUMS].read_text(encoding="utf-8", errors="replace")[:MAX_SUMS_CHARS].splitlines()
    for line in lines:
        digest, _, name = line.partition("  ")
        if name not in files:
            raise ModelError(f"{bundle} lacks {name[:80]!r}, which its list {SUMS} names. Download the bundle again.")
        with files[name].open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise ModelError(f"{name} in {bundle} differs from its digest in {SUMS}; it was damaged or changed. "
                                 "Download the bundle again.")


def _read_zoo(files: dict[str, Path], weights: str, out: Path, binding: dict[str, Any] | None) -> ModelDescription:
    """A model of the zoo; its config and vocabularies lie beside the weights or in their metadata."""
    from compression.models.files import CONFIG, VOCABULARIES, WEIGHTS, load_model
    from compression.models.structure import describe

    out.mkdir(parents=True, exist_ok=True)
    checkpoint = _is_checkpoint(weights)
    metadata = {} if checkpoint else safetensors_metadata(files[weights], weights)
    for name in (CONFIG, VOCABULARIES):
        if name in files:
            plain = _json(files[name], name)
        elif name.removesuffix(".json") in metadata:
            plain = _parsed(metadata[name.removesuffix(".json")], f"the metadata of {weights}")
        else:
            continue
        (out / name).write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    if binding:
        raise ModelError("A model of the zoo knows its columns: its signature is in config.json. Leave the binding "
                         "empty.")
    (out / WEIGHTS).unlink(missing_ok=True)
    if checkpoint:
        _convert(files[weights], weights, out / WEIGHTS)
    else:
        shutil.copyfile(files[weights], out / WEIGHTS)
    loaded = load_model(out)
    graph_bytes = exported_graph_bytes(loaded.module, loaded.signature, out.parent)
    return describe(loaded.module, loaded.signature, architecture=loaded.architecture, graph_bytes=graph_bytes)


def has_config(files: dict[str, Path], weights: str) -> bool:
    """Whether a config.json of ours lies beside the weights or in their metadata; other tools' files count as none."""
    from compression.models.files import CONFIG

    if CONFIG in files:
        plain = _json(files[CONFIG], CONFIG)
        return not isinstance(plain, dict) or "format" in plain or "signature" in plain
    return not _is_checkpoint(weights) and CONFIG.removesuffix(".json") in safetensors_metadata(files[weights], weights)


def _read_weights(files: dict[str, Path], weights: str, out: Path, binding: dict[str, Any], data_folder: Path | None
                  ) -> ModelDescription:
    """Weights that nothing of ours describes: their family is recognised, with the settings other tools left."""
    from compression.importers.checkpoint.read import read_state_dict

    state, told = state_and_told(files, weights, data_folder)
    out.mkdir(parents=True, exist_ok=True)
    return read_state_dict(state, weights, out, given=binding, data_folder=data_folder, told=told,
                           vocabularies=vocabularies_of(files))


def state_and_told(files: dict[str, Path], weights: str, data_folder: Path | None = None
                   ) -> tuple[dict[str, Any], Any]:
    """The tensors by name, and what a training tool told of them (`Told`). Raises ModelError."""
    from compression.importers.checkpoint.frameworks import told_by
    from compression.importers.checkpoint.lightning import is_lightning, without_losses
    from compression.importers.checkpoint.torch_file import TorchFile, as_plain_types, read_torch_file, weights_of

    if _is_checkpoint(weights):
        found = read_torch_file(files[weights], weights)
        state = weights_of(found)
        state = without_losses(state) if is_lightning(found.values) else state
    else:
        safetensors_metadata(files[weights], weights)
        found = TorchFile()
        state = as_plain_types(_safetensors(files[weights], weights))
    if not state:
        raise ModelError(f"{weights} holds no tensors. Save the weights: torch.save(model.state_dict(), …).")
    return state, told_by(found.values, files, vocabularies=vocabularies_of(files), data_folder=data_folder)


def _is_checkpoint(name: str) -> bool:
    return Path(name).suffix.lower() in CHECKPOINT_ENDINGS


def _safetensors(path: Path, name: str) -> dict[str, Any]:
    """The tensors by name, with numbers in names as numbers: the format doesn't keep the order of the layers."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in sorted(file.keys(), key=_natural)}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{name} is not a whole safetensors file ({error}). It is truncated or of another format; "
                         "save it again with safetensors.") from None


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"[._]", name)]


def _convert(path: Path, name: str, out: Path) -> None:
    """The weights of a file of torch.save, read without running it, as safetensors."""
    from safetensors.torch import save_file

    from compression.importers.checkpoint.torch_file import read_torch_file, weights_of

    tensors = weights_of(read_torch_file(path, name))
    if not tensors:
        raise ModelError(f"{name} holds no tensors. Save the weights: torch.save(model.state_dict(), …).")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, out)


def safetensors_metadata(path: Path, name: str) -> dict[str, str]:
    """The text metadata in the header of a safetensors file, whose length is checked before it is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > min(size - 8, MAX_METADATA_BYTES):
            raise ModelError(f"{name} is not a whole safetensors file: its header claims {length:,} bytes, and the "
                             f"file has {size:,}. It is truncated or of another format; save it with safetensors.")
        header = _parsed(file.read(length), f"the header of {name}")
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelError(f"The header of {name} is not one of safetensors; save it again with safetensors.")
    return metadata


def exported_graph_bytes(module: Any, signature: Any, scratch: Path) -> int:
    """What the exported file weighs beyond the layers' tensors, by exporting it."""
    from compression.export.onnx import export_onnx

    with tempfile.TemporaryDirectory(prefix="export-", dir=scratch) as folder:
        return export_onnx(module, signature, Path(folder) / "model.onnx").graph_bytes


def vocabularies_of(files: dict[str, Path]) -> dict[str, list[str]]:
    """vocabularies.json: column → values; {} where it did not come."""
    if "vocabularies.json" not in files:
        return {}
    plain = _json(files["vocabularies.json"], "vocabularies.json")
    lists = list(plain.values()) if isinstance(plain, dict) else [None]
    if not all(isinstance(values, list) and all(isinstance(value, str) for value in values) for values in lists):
        raise ModelError("vocabularies.json must map each column to a list of texts, in the order of the table's rows "
                         "from row 1 on.")
    if twice := repeated(plain):
        raise ModelError(twice)
    return plain


def _json(path: Path, name: str) -> Any:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError(f"{name} has {path.stat().st_size:,} bytes; at most {MAX_JSON_BYTES:,} are read.")
    return _parsed(path.read_bytes(), name)


def _parsed(text: bytes | str, what: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{what} is not valid JSON ({error}).") from None

"""Which files of a folder of Hugging Face or sentence-transformers are read, and what the folder is. Loads no torch."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

from compression.importers.hugging_face.settings import CONFIG, MAX_CONFIG_BYTES, MODULE_FOLDER, MODULES

_WEIGHTS = re.compile(r"(?:(\d{1,2}_[A-Za-z]{1,40})\.)?(?:pytorch_)?model(-\d{5}-of-\d{5})?\.(safetensors|bin)")
TOKENIZERS = "*tokenizer*.json"  # what is beside such a table
STATIC_TABLES = {"embedding.weight", "embeddings"}  # of sentence-transformers and wordllama, of model2vec
MAX_LONE_HEADER = 4096  # bytes of the header of a file of one table
_OTHER_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".model", ".th", ".onnx", ".h5", ".msgpack", ".ot",
                  ".gguf", ".zip")  # what training and other runtimes leave beside the weights


def is_hugging_face(files: dict[str, Path]) -> bool:
    """Whether config.json is one that transformers writes (it names the type of the model, and nothing of ours), or
    sentence-transformers lists the modules."""
    plain = _plain(files, CONFIG)
    if isinstance(plain, dict) and ("format" in plain or "signature" in plain):
        return False
    return (isinstance(plain, dict) and isinstance(plain.get("model_type"), str)) or \
        isinstance(_plain(files, MODULES), list) or is_lone_table(files)


def is_lone_table(files: dict[str, Path]) -> bool:
    """Whether a tokenizer lies beside one safetensors file of one table and nothing else: static embeddings, as
    wordllama publishes them."""
    if CONFIG in files or MODULES in files or not any(fnmatchcase(name, TOKENIZERS) for name in files):
        return False
    weights = [path for name, path in files.items() if name.lower().endswith(".safetensors")]
    if len(weights) != 1:
        return False
    with weights[0].open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= MAX_LONE_HEADER else b""
    try:
        held = set(json.loads(header)) - {"__metadata__"}
    except (ValueError, RecursionError, TypeError):
        return False
    return len(held) == 1 and held <= STATIC_TABLES


def files_read(files: dict[str, Path]) -> dict[str, Path]:
    """The settings and weights of such a folder, safetensors first; any other folder as it is.

    The first module's folder (0_Transformer, in old ones) counts as the folder itself.
    """
    if not is_hugging_face(files):
        return files
    modules = _plain(files, MODULES)
    first = modules[0] if isinstance(modules, list) and modules and isinstance(modules[0], dict) else {}
    if MODULE_FOLDER.fullmatch(str(first.get("path"))):
        files = {name.removeprefix(f"{first['path']}."): path for name, path in files.items()}
    weights = _weights(files)
    safe = {found[1] for found in weights.values() if found[3] == "safetensors"}
    dropped = {name for name, found in weights.items() if found[3] == "bin" and found[1] in safe}
    if weights:
        dropped |= {name for name in files if name not in weights and name.lower().endswith(_OTHER_WEIGHTS)}
    return {name: path for name, path in files.items() if name not in dropped}


def attached_weights(files: dict[str, Path]) -> list[str]:
    """Weights that are no model of their own: those of the layers behind an encoder, and every shard but the first."""
    if not is_hugging_face(files):
        return []
    weights = _weights(files)
    return sorted(weights, key=lambda name: (weights[name][1] or "", weights[name][2] or "", name))[1:]


def shards_of(files: dict[str, Path], name: str) -> list[str]:
    """The files that hold the weights which `name` begins: itself alone, or every shard of them."""
    found = _WEIGHTS.fullmatch(name)
    if found is None or not found[2]:
        return [name]
    return sorted(other for other, one in _weights(files).items()
                  if one[2] and (one[1], one[3]) == (found[1], found[3]))


def files_of_folder(folder: Path) -> dict[str, Path]:
    """What a folder on this machine holds, as an upload: weights, settings, folders such as 1_Pooling."""
    found = {}
    for path in sorted(folder.iterdir()):
        inside = sorted(path.iterdir()) if path.is_dir() and MODULE_FOLDER.fullmatch(path.name) else []
        found |= {f"{path.name}.{one.name}": one for one in inside} or {path.name: path}
    return files_read({name: path for name, path in found.items() if path.is_file() and path.suffix in (
        ".json", ".safetensors", ".bin")})


def _weights(files: dict[str, Path]) -> dict[str, re.Match[str]]:
    """Name → (folder of the module, which shard, ending) of what is named as weights are."""
    return {name: found for name in files if (found := _WEIGHTS.fullmatch(name))}


def _plain(files: dict[str, Path], name: str) -> object:
    if name not in files or files[name].stat().st_size > MAX_CONFIG_BYTES:
        return None
    try:
        return json.loads(files[name].read_bytes())
    except (ValueError, RecursionError):
        return None

"""The dataset that RecBole saves beside a checkpoint: kinds of columns, and the value of each row of a table.

It is a pickle of RecBole's own objects around pandas and numpy. Its opcodes are read as data, as a checkpoint's are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compression.importers.checkpoint.inert_pickle import MAX_PICKLE_BYTES, plain, read_pickle
from compression.importers.checkpoint.recbole_fields import Kept
from compression.spec.errors import ModelError

_SOURCES = ("inter", "user", "item", "user_id", "item_id")
_KINDS = ("token", "token_seq", "float", "float_seq")
_ARRAYS = ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct")


def read_dataset(path: Path, name: str) -> Kept:
    """Kinds and vocabularies. Raises ModelError for a file that is broken, too large or none of RecBole's."""
    if path.stat().st_size > MAX_PICKLE_BYTES:
        raise ModelError(f"{name} has {path.stat().st_size:,} bytes; of RecBole's dataset files at most "
                         f"{MAX_PICKLE_BYTES:,} are read. Upload the values of the ids as vocabularies.json instead.")
    root = plain(read_pickle(path.read_bytes()))
    state = root.get("state") if isinstance(root, dict) else None
    kinds, sources, values = ({} if not isinstance(state, dict) else state.get(key)
                              for key in ("field2type", "field2source", "field2id_token"))
    if not isinstance(kinds, dict) or not isinstance(sources, dict) or not isinstance(values, dict) or not kinds:
        raise ModelError(f"{name} is not a dataset as RecBole saves it. Save it again (save_dataset: True), or upload "
                         "the checkpoint without it.")
    found = {str(column): _member(kind) for column, kind in kinds.items()
             if (_member(sources.get(column)) or sources.get(column)) in _SOURCES}
    words = {str(column): _texts(array) for column, array in values.items()}
    return Kept({column: kind for column, kind in found.items() if kind in _KINDS},
                {column: texts[1:] for column, texts in words.items() if texts and column in found})


def _member(value: Any) -> str | None:
    """The value of an enumeration's member, as a pickle names it: a call of the class with the value."""
    args = value.get("args") if isinstance(value, dict) else None
    return args[0] if isinstance(args, list) and len(args) == 1 and isinstance(args[0], str) else None


def _texts(array: Any) -> list[str] | None:
    """The texts of a numpy array of one axis; None for anything else."""
    state = array.get("state") if isinstance(array, dict) and array.get("__class__") in _ARRAYS else None
    if not isinstance(state, list) or len(state) != 5 or not isinstance(state[2], dict):
        return None
    _, shape, dtype, _, content = state
    args = dtype.get("args")
    kind = args[0] if isinstance(args, list) and args else None
    if not isinstance(kind, str) or not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int:
        return None
    if kind.startswith("O") and isinstance(content, list):
        return [str(one) for one in content] if len(content) == shape[0] else None
    width = int(kind[1:]) if kind[0] == "U" and kind[1:].isdecimal() else 0
    if not width or not isinstance(content, bytes) or len(content) != 4 * width * shape[0]:
        return None
    text = content.decode("utf-32-le", "replace")
    return [text[place:place + width].rstrip("\0") for place in range(0, len(text), width)]

"""Numbers out of an HDF5 file, without following a link or loading a plugin, each size checked before it is read.

    with open_weights(path, "model.weights.h5") as file:
        weights = keras_weights(file, "model.weights.h5")      # layer's name → arrays in Keras's order

The parser is HDF5's own, in C: it sees hostile bytes, and runs in the sandboxed child alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compression.spec.errors import ModelError

if TYPE_CHECKING:
    import h5py

MAX_OBJECTS = 20_000
MAX_DEPTH = 12
MAX_RATIO = 200  # bytes of a tensor for a byte that is stored, as for zip archives
MAX_ATTRIBUTE_BYTES = 16 << 20
_FILTERS = (1, 2, 3, 32000)  # gzip, shuffle, checksum, lzf: HDF5's numbers of them
_FREE_BYTES = 1 << 20  # below this the ratio doesn't matter


@contextmanager
def open_weights(path: Path, name: str) -> Iterator[h5py.File]:
    """The file, open for reading. Raises ModelError for one that HDF5 can't read, whenever it turns out."""
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # no filter is loaded from elsewhere
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except ModelError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, UnicodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{name} is not a whole HDF5 file ({reason}). Save the model with Keras again.") from None


def keras_weights(file: h5py.File, name: str) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer that has some, by the layer's name. Raises ModelError for links, bombs, odd kinds."""
    found: dict[str, list[np.ndarray]] = {}
    count, is_legacy = 0, "layer_names" in file.attrs  # of save_weights, whose layers stand at the top
    stack = [(file["/"], "", 0)]
    while stack:
        group, path, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ModelError(f"{name} nests its groups deeper than {MAX_DEPTH}; it is no model of Keras.")
        for key in group:
            count += 1
            if count > MAX_OBJECTS:
                raise ModelError(f"{name} holds more than {MAX_OBJECTS:,} objects; it is no model.")
            below = _member(group, key, f"{path}/{key}", name)
            if below is None or f"{path}/{key}".startswith(("/optimizer", "/metrics", "/loss")):
                continue
            if key == "vars" and path:
                arrays = [_array(below, place, f"{path}/vars/{place}", name)
                          for place in sorted(below, key=lambda one: (len(one), one))]
                label = text_attribute(below, "name", name) or path.rpartition("/")[2]
                if arrays and label in found:
                    raise ModelError(f"{name} has arrays of two layers named {label[:60]!r}. Save the model again.")
                found |= {label: arrays} if arrays else {}
            elif path == ("" if is_legacy else "/model_weights"):
                arrays = [array for _, array in legacy_arrays(below, f"{path}/{key}", name)]
                if arrays:
                    found[key] = arrays
            else:
                stack.append((below, f"{path}/{key}", depth + 1))
    return found


def text_attribute(group: Any, key: str, name: str) -> str:
    """An attribute as text; "" where there is none. Raises ModelError for one that is too long or no text."""
    if key not in group.attrs:
        return ""
    if group.attrs.get_id(key).get_storage_size() > MAX_ATTRIBUTE_BYTES:
        raise ModelError(f"The attribute {key!r} of {name} is longer than {MAX_ATTRIBUTE_BYTES:,} bytes.")
    value = group.attrs[key]
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if not isinstance(value, str) or len(value) > MAX_ATTRIBUTE_BYTES:
        raise ModelError(f"The attribute {key!r} of {name} is no text. Save the model with Keras again.")
    return value


def _member(group: Any, key: str, path: str, name: str) -> Any:
    """The group at `key`, None for numbers that stand elsewhere than Keras puts them. Raises ModelError for a link."""
    import h5py

    _refuse_link(group, key, path, name)
    below = group[key]
    return below if isinstance(below, h5py.Group) else None


def _refuse_link(group: Any, key: str, path: str, name: str) -> None:
    import h5py

    link = group.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        kind = "another file" if isinstance(link, h5py.ExternalLink) else "another place"
        raise ModelError(f"{name} holds a link to {kind} ({path[:80]}), which is not followed.")


def _array(group: Any, key: str, path: str, name: str) -> np.ndarray:
    """One array of numbers, looked at before it is read."""
    import h5py

    _refuse_link(group, key, path, name)
    stored = group[key]
    if not isinstance(stored, h5py.Dataset):
        raise ModelError(f"{name} has a group where Keras keeps numbers ({path[:80]}). Save it again.")
    if stored.external or stored.is_virtual:
        raise ModelError(f"The numbers of {path[:80]} in {name} lie in another file, which is not opened.")
    if stored.dtype.kind not in "fiu" or stored.shape is None:
        raise ModelError(f"{path[:80]} in {name} holds {stored.dtype}, which is not read. Convert the model to "
                         "float32.")
    made = stored.id.get_create_plist()
    if any(made.get_filter(place)[0] not in _FILTERS for place in range(made.get_nfilters())):
        raise ModelError(f"{path[:80]} in {name} is packed by a filter that is not read. Save it without one.")
    claimed, kept = stored.nbytes, stored.id.get_storage_size()
    if (stored.chunks is None and claimed > kept + 8) or (claimed > _FREE_BYTES and claimed > MAX_RATIO * max(kept, 1)):
        raise ModelError(f"{path[:80]} in {name} claims {claimed:,} bytes and stores {kept:,}, as a bomb or a broken "
                         "file does.")
    return np.asarray(stored[()], np.float32 if stored.dtype.kind == "f" else np.int64)


def legacy_arrays(group: Any, path: str, name: str) -> list[tuple[str, np.ndarray]]:
    """The arrays of a layer as Keras 1 and 2 save them, with their names, in the order its attribute lists them."""
    listed = group.attrs.get("weight_names", ())
    names = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)
             for one in (listed.tolist() if isinstance(listed, np.ndarray) else list(listed))]
    arrays = []
    for one in names[:100]:
        *branches, last = one.split("/")
        here, so_far = group, path
        for branch in branches:
            so_far = f"{so_far}/{branch}"
            if branch not in here:
                raise ModelError(f"{name} lacks the numbers {one[:80]!r} that it lists. Save it again.")
            here = _member(here, branch, so_far, name)
            if here is None:
                raise ModelError(f"{name} has numbers where Keras keeps a group ({so_far[:80]}). Save it again.")
        if last not in here:
            raise ModelError(f"{name} lacks the numbers {one[:80]!r} that it lists. Save it again.")
        arrays.append((one, _array(here, last, f"{so_far}/{last}", name)))
    return arrays

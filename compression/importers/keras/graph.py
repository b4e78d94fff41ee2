"""The layers of a Keras model in the order they are called, each written as ONNX operators by keras/layers.py.

    write_onnx(read_keras(files, "model.keras", scratch), path, "model.keras")

A functional graph of one output and a Sequential are read. A layer that is called twice shares its arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from compression.importers.keras.emit import Emitter, Layer, Value
from compression.importers.keras.file import KerasModel
from compression.importers.keras.layers import LAYERS
from compression.spec.errors import ModelError
from compression.spec.names import PLAIN_NAME

MAX_LAYERS = 2000
_BESIDE_BYTES = 1 << 20  # larger graphs keep their tensors in a file beside them
_READ = "the layers of MLP and embedding models"


@dataclass(frozen=True, eq=False)
class _Call:
    """A layer applied to tensors, each named by (layer, which call of it)."""

    layer: Layer
    place: int
    reads: tuple[tuple[str, int], ...]


def write_onnx(model: KerasModel, path: Path, name: str) -> None:
    """The model as an ONNX file of one score a row. Raises ModelError that names the layer that can't be read."""
    calls, output = _calls(model, name)
    emitter = Emitter(name)
    values: dict[tuple[str, int], Value] = {}
    consumers: dict[tuple[str, int], set[str]] = {}
    for call in calls:
        for source in call.reads:
            consumers.setdefault(source, set()).add(call.layer.kind)
    left = calls
    while left:
        ready = [call for call in left if all(source in values for source in call.reads)]
        if not ready:
            raise ModelError(f"The layers of {name} read one another in a circle, or one that isn't there "
                             f"({left[0].layer.name[:60]!r}). Save the model with Keras again.")
        for call in ready:
            key = (call.layer.name, call.place)
            if call.layer.kind == "InputLayer":
                values[key] = emitter.add_input(call.layer, reads_ids=consumers.get(key) == {"Embedding"})
            else:
                values[key] = LAYERS[call.layer.kind](emitter, call.layer, [values[one] for one in call.reads])
        left = [call for call in left if call not in ready]
    if output not in values:
        raise ModelError(f"{name} says that its output is {output[0][:60]!r}, which no layer gives.")
    graph = emitter.finish(values[output])
    beside = graph.ByteSize() > _BESIDE_BYTES
    onnx.save(graph, str(path), save_as_external_data=beside, location=f"{path.name}.data")


def _calls(model: KerasModel, name: str) -> tuple[list[_Call], tuple[str, int]]:
    """Every call of a layer, and which of them gives the output."""
    kind, config = model.config.get("class_name"), model.config.get("config")
    listed = config.get("layers") if isinstance(config, dict) else None
    if kind not in ("Functional", "Sequential") or not isinstance(listed, list):
        raise ModelError(f"{name} holds a model of the kind {str(kind)[:60]!r}; functional and sequential models of "
                         "Keras 3 are read. Export a subclassed model to ONNX.")
    if not 0 < len(listed) <= MAX_LAYERS:
        raise ModelError(f"{name} has {len(listed):,} layers; 1 to {MAX_LAYERS:,} are read.")
    layers = [_layer(one, model, name) for one in listed]
    if len({layer.name for layer in layers}) != len(layers):
        raise ModelError(f"Two layers of {name} have one name. Save the model with Keras again.")
    if kind == "Sequential":
        if layers[0].kind != "InputLayer":
            layers.insert(0, _input_before(listed[0], name))
        calls = [_Call(layer, 0, ((layers[place - 1].name, 0),) if place else ()) for place, layer in enumerate(layers)]
        return calls, (layers[-1].name, 0)
    calls = []
    for layer, plain in zip(layers, listed, strict=True):
        nodes = plain.get("inbound_nodes") if layer.kind != "InputLayer" else []
        if not isinstance(nodes, list) or len(nodes) > MAX_LAYERS:
            raise ModelError(f"The layer {layer.name[:60]!r} of {name} doesn't say what it reads.")
        calls += [_Call(layer, place, tuple(_sources(node, layer, name))) for place, node in enumerate(nodes)]
        calls += [_Call(layer, 0, ())] if layer.kind == "InputLayer" else []
    if len(calls) > MAX_LAYERS:
        raise ModelError(f"{name} calls its layers {len(calls):,} times; at most {MAX_LAYERS:,} are read.")
    return calls, _output(config.get("output_layers"), name)


def _layer(plain: Any, model: KerasModel, name: str) -> Layer:
    """One layer. Raises ModelError that names a kind that isn't read."""
    kind = plain.get("class_name") if isinstance(plain, dict) else None
    config = plain.get("config") if isinstance(plain, dict) else None
    if not isinstance(kind, str) or not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise ModelError(f"A layer of {name} is not described as Keras 3 does it. Save the model with Keras 3 again.")
    label = config["name"]
    own = plain.get("registered_name") in (None, kind) and str(plain.get("module", "keras.layers")) == "keras.layers"
    if kind == "Lambda":
        raise ModelError(f"The layer {label[:60]!r} of {name} is a Lambda: it holds code, which is never run. Put a "
                         "layer of Keras in its place, or export the model to ONNX.")
    if kind not in LAYERS and kind != "InputLayer":
        raise ModelError(f"The layer {label[:60]!r} of {name} is a {kind[:60]}, which is not among {_READ} that are "
                         f"read ({', '.join(sorted(LAYERS))}). Export the model to ONNX.")
    if not own:
        raise ModelError(f"The layer {label[:60]!r} of {name} is a {kind[:60]} of {str(plain.get('module'))[:60]}, not "
                         "Keras's own. Export the model to ONNX.")
    if not PLAIN_NAME.fullmatch(label):
        raise ModelError(f"A layer of {name} is named {label[:60]!r}; letters, digits, '.', '_' and '-' are allowed.")
    return Layer(label, kind, config, model.weights.get(label, []), name)


def _input_before(first: dict[str, Any], name: str) -> Layer:
    """The input of a Sequential that was built without one."""
    built = first.get("build_config")
    shape = built.get("input_shape") if isinstance(built, dict) else None
    return Layer("input", "InputLayer", {"batch_shape": shape, "dtype": "float32"}, [], name)


def _sources(node: Any, layer: Layer, name: str) -> Iterator[tuple[str, int]]:
    """(layer, which call of it) of every tensor a call reads, in order."""
    if not isinstance(node, dict) or set(node.get("kwargs") or {}) - {"mask", "training"} or any(
            (node.get("kwargs") or {}).values()):
        raise ModelError(f"The layer {layer.name[:60]!r} of {name} is called with options, or saved by Keras 2. Load "
                         "it with Keras 3 and save it again as .keras.")
    stack = [node.get("args")]
    while stack:
        value = stack.pop(0)
        if isinstance(value, list):
            stack = value + stack
        elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            inner = value.get("config")
            yield _history(inner.get("keras_history") if isinstance(inner, dict) else None, name)
        else:
            raise ModelError(f"The layer {layer.name[:60]!r} of {name} reads something that is no tensor of the model. "
                             "Export the model to ONNX.")


def _output(listed: Any, name: str) -> tuple[str, int]:
    """The one output; a list of one is as good as itself."""
    while isinstance(listed, list | dict) and len(listed) == 1:
        listed = next(iter(listed.values())) if isinstance(listed, dict) else listed[0]
    if not isinstance(listed, list) or len(listed) != 3 or isinstance(listed[0], list):
        raise ModelError(f"{name} has several outputs; a model of one score is read.")
    return _history(listed, name)


def _history(plain: Any, name: str) -> tuple[str, int]:
    if not isinstance(plain, list) or len(plain) != 3 or not isinstance(plain[0], str) or type(plain[1]) is not int \
            or plain[2] != 0:
        raise ModelError(f"{name} doesn't say which layer gives a tensor. Save the model with Keras 3 again.")
    return plain[0], plain[1]

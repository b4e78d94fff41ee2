"""Walk a model by its leaves: list them, copy their arrangement, replace one, describe all.

A leaf is a module that holds tensors and no further modules, or says `is_leaf = True` (every layer of
compression/layers does). Methods replace leaves of a copied structure and never write into a tensor,
because the copy shares its tensors with the original.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import nn

from compression.layers.rows.padded_rows import keep_padding
from compression.spec.records import Layer, ModelDescription, Part, Tensor
from compression.spec.signature import Signature

DTYPES = {torch.float32: "float32", torch.float64: "float32", torch.float16: "float16", torch.bfloat16: "float16",
          torch.int8: "int8", torch.uint8: "uint8", torch.int32: "int32", torch.int64: "int64", torch.bool: "bool"}


def leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(dotted path, module) of every leaf that holds tensors, in the order of the model; a shared leaf comes once."""
    seen: set[int] = set()

    def walk(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        children = list(module.named_children())
        if getattr(module, "is_leaf", False) or not children:
            if any(True for _ in chain(module.parameters(), module.buffers())):
                yield path, module
            return
        for name, child in children:
            yield from walk(child, f"{path}.{name}" if path else name)

    yield from walk(model, "")


def replace(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` where the module at the dotted path stands; a table keeps its padding row.

    Raises AttributeError for an unknown path.
    """
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    keep_padding(parent.get_submodule(name), new)
    parent._modules[name] = new


def declare_padding(model: nn.Module) -> nn.Module:
    """The model, its tables with zeros in row 0 alone declared to have their padding there (`padding_idx`).

    For models that came from elsewhere: nothing says whether such a row is summed without a mask.
    """
    for _, leaf in leaves(model):
        if isinstance(leaf, nn.Embedding) and not leaf.weight[0].any() and leaf.weight.any():
            leaf.padding_idx = 0
    return model


def table_inputs(model: nn.Module) -> dict[str, str]:
    """Path of each embedding table → name of the input whose ids it reads. Empty where the model doesn't say."""
    return dict(getattr(model, "table_inputs", {}))


def table_readers(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Path of each embedding table → the inputs whose ids it reads: several where a history and a target share it."""
    return {path: (name,) for path, name in table_inputs(model).items()} | dict(getattr(model, "shared_inputs", {}))


def forget_table(model: nn.Module, path: str) -> None:
    """Say that the rows of the table at `path` are no longer those of ids."""
    model.table_inputs = {known: name for known, name in table_inputs(model).items() if known != path}
    model.shared_inputs = {known: names for known, names in getattr(model, "shared_inputs", {}).items()
                           if known != path}


def move_table(model: nn.Module, path: str, new_path: str) -> None:
    """Say that the table which stood at `path` now stands at `new_path`, inside a layer that replaced it."""
    for attribute in ("table_inputs", "shared_inputs"):
        inputs = getattr(model, attribute, {})
        if path in inputs:
            setattr(model, attribute, {new_path if known == path else known: read for known, read in inputs.items()})


def read_signature(model: nn.Module | None, signature: Signature) -> Signature:
    """The signature without the inputs that the model reads no more (`model.dropped_inputs`)."""
    dropped = getattr(model, "dropped_inputs", ())
    if not dropped:
        return signature
    return signature.model_copy(update={"inputs": tuple(one for one in signature.inputs if one.name not in dropped)})


def part_of(model: nn.Module, path: str) -> Part:
    """What the leaf at `path` does: by the longest prefix in `model.parts`, else by its kind."""
    parts: dict[str, Part] = getattr(model, "parts", {})
    prefixes = [prefix for prefix in parts if path == prefix or path.startswith(prefix + ".")]
    if prefixes:
        return parts[max(prefixes, key=len)]
    return Part.EMBEDDING if is_table(model.get_submodule(path)) else Part.DENSE


def is_table(module: nn.Module) -> bool:
    """Whether the leaf looks up rows by id."""
    return hasattr(module, "num_embeddings") and hasattr(module, "embedding_dim")


def attentions(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of every attention whose heads may go: it says `heads` and `width`, and projects by dense layers.

    Rows of query, key and value, and columns of out, stand head after head.
    """
    for path, module in model.named_modules():
        projections = [getattr(module, name, None) for name in ("query", "key", "value", "out")]
        if hasattr(module, "heads") and all(isinstance(one, nn.Linear) for one in projections):
            yield path, module


def describe(model: nn.Module, signature: Signature, *, architecture: str, graph_bytes: int = 0) -> ModelDescription:
    """The model by shapes alone. A tensor used in two places is counted in the first, as the export writes it once."""
    names = {item.name for item in signature.inputs}
    fields = {path: name if name in names else name.removesuffix("+") for path, name in table_inputs(model).items()}
    as_is = {item.name for item in signature.inputs if item.ids == "as-is"}
    as_is |= {field for field in fields.values() if field not in names and field.rpartition("[")[0] in as_is}
    heads = {f"{path}.{name}": module.heads for path, module in attentions(model)
             for name in ("query", "key", "value", "out")}
    seen: set[int] = set()
    layers = [_layer(model, path, module, fields.get(path), as_is, seen) for path, module in leaves(model)]
    layers = [layer.model_copy(update={"heads": heads.get(layer.name, 0)}) for layer in layers]
    within = tuple(path for path, module in leaves(model))
    for name, tensor in model.named_parameters():
        if id(tensor) not in seen and not any(name.startswith(path + ".") for path in within):
            layers.append(Layer(name=name, kind="Parameter", part=Part.DENSE, shape=tuple(tensor.shape),
                                tensors=(_record(name, tensor),)))
    return ModelDescription(architecture=architecture, layers=tuple(layers),
                            signature=signature.model_dump(mode="json"), graph_bytes=graph_bytes)


def _layer(model: nn.Module, path: str, module: nn.Module, field: str | None, as_is: set[str],
           seen: set[int]) -> Layer:
    if hasattr(module, "stored_tensors"):
        tensors = tuple(module.stored_tensors())
        seen.update(id(tensor) for tensor in chain(module.parameters(), module.buffers()))
    else:
        tensors = tuple(_float_tensors(path, module, seen))
    return Layer(name=path, kind=type(module).__name__, part=part_of(model, path), shape=_shape(module),
                 tensors=tensors, field=field, ordered=field not in as_is)


def _float_tensors(path: str, module: nn.Module, seen: set[int]) -> Iterator[Tensor]:
    """Parameters and stored float statistics; BatchNorm's step counter stays out of the exported file."""
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in seen or not tensor.is_floating_point():
            continue
        seen.add(id(tensor))
        yield _record(f"{path}.{name}" if path else name, tensor)


def _record(name: str, tensor: torch.Tensor) -> Tensor:
    return Tensor(name=name, dtype=DTYPES[tensor.dtype], shape=tuple(tensor.shape))


def _shape(module: nn.Module) -> tuple[int, ...]:
    if is_table(module):
        return (int(module.num_embeddings), int(module.embedding_dim))
    if hasattr(module, "out_features") and hasattr(module, "in_features"):
        return (int(module.out_features), int(module.in_features))
    first = next(chain(module.parameters(), module.buffers()))
    return tuple(first.shape)

"""The calls of an exported program as a torch.fx graph, each checked against the operators that only compute."""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import Tensor, fx, nn

from compression.importers.pt2.bags import lower_bags
from compression.importers.pt2.operators import ATEN, CHECKS, PYTHON, TEXTS
from compression.spec.errors import ModelError
from compression.spec.names import attribute_name

_TARGET = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_SCALARS = {1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
            7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16}
_MEMORY = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_PLAIN = {"as_int": int, "as_bool": bool, "as_float": float}
_PLAIN_LISTS = {"as_ints": int, "as_bools": bool, "as_floats": float}


class Holder(nn.Module):
    """A branch in the tree of names, which holds the tensors below it."""


class Graph:
    """Grows node by node; `finish` gives the module."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root, self.graph = nn.Module(), fx.Graph()
        self.values: dict[str, fx.Node | str] = {}  # a text is the path of a tensor that nothing has read yet
        self.attributes: dict[tuple[str, ...], str] = {}  # path in the file → its last part as an attribute here

    def add_input(self, name: str) -> None:
        self.values[name] = self.graph.placeholder(name)

    def add_tensor(self, name: str, path: str, tensor: Tensor) -> None:
        """Place a parameter or buffer under its dotted path; the graph reads it where a call does."""
        parts, owner, branches = tuple(path.split(".")), self.root, []
        for depth in range(1, len(parts)):
            branches.append(self._attribute(owner, parts[:depth]))
            if branches[-1] not in owner._modules:
                owner.add_module(branches[-1], Holder())
            owner = owner._modules[branches[-1]]
        last = self._attribute(owner, parts)
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(last, tensor)
        else:
            owner.register_buffer(last, tensor)
        self.values[name] = ".".join((*branches, last))

    def _attribute(self, owner: nn.Module, parts: tuple[str, ...]) -> str:
        """What the last part is called on `owner`: "user-id" and "user_id" side by side stay two."""
        if parts not in self.attributes:
            name = attribute_name(parts[-1]) or "weight"
            while hasattr(owner, name):
                name += "_"
            self.attributes[parts] = name
        return self.attributes[parts]

    def add_call(self, node: dict[str, Any]) -> None:
        """One node. Raises ModelError for an operator that is not on the list."""
        target = str(node["target"])
        if target in PYTHON:
            call = self.graph.call_function(PYTHON[target], tuple(self._value(one["arg"]) for one in node["inputs"]))
        else:
            found = _TARGET.fullmatch(target)
            name = f"{found[1]}.{found[2]}" if found else ""
            if name in CHECKS:
                return
            if name not in ATEN:
                raise ModelError(f"{self.file} calls {target[:80]!r}, which is not among the {len(ATEN)} operators "
                                 "that are read from a .pt2. Export the model to ONNX instead.")
            call = self._aten(getattr(getattr(torch.ops.aten, found[1]), found[2]), node["inputs"])
        self._keep(call, node["outputs"])

    def finish(self, outputs: list[dict[str, Any]], widths: dict[str, int | None]) -> fx.GraphModule:
        """The module. `widths`: the second axis of the inputs that have one, None where it is free."""
        values = [self._value(one) for one in outputs]
        self.graph.output(values[0] if len(values) == 1 else tuple(values))
        lower_bags(self.graph, widths, self.file)
        self.graph.lint()
        self.graph.eliminate_dead_code()
        return fx.GraphModule(self.root, self.graph).eval()

    def _aten(self, operator: Any, inputs: list[dict[str, Any]]) -> fx.Node:
        """The call in its normal form: positional arguments with defaults filled in."""
        given = {one["name"]: self._value(one["arg"]) for one in inputs}
        args, keywords = [], {}
        for argument in operator._schema.arguments:
            if not argument.kwarg_only:
                args.append(given.get(argument.name, argument.default_value))
            elif argument.name in given and argument.name != "pin_memory":
                keywords[argument.name] = given[argument.name]
        return self.graph.call_function(operator, tuple(args), keywords)

    def _keep(self, call: fx.Node, outputs: list[dict[str, Any]]) -> None:
        """Remember what a call gives under the names the file has for it."""
        if len(outputs) == 1 and "as_tensors" not in outputs[0]:
            said = _only(outputs[0])
            self.values[said.get("name") or said["as_name"]] = call
            return
        several = outputs[0]["as_tensors"] if len(outputs) == 1 else [
            None if "as_none" in one else _only(one) for one in outputs]
        for place, said in enumerate(several):
            if said and said.get("name"):
                self.values[said["name"]] = self.graph.call_function(PYTHON["_operator.getitem"], (call, place))

    def _read(self, name: str) -> fx.Node:
        if name not in self.values:
            raise ModelError(f"{self.file} reads a value {str(name)[:80]!r} that nothing has computed.")
        value = self.values[name]
        if isinstance(value, str):
            value = self.values[name] = self.graph.get_attr(value)
        return value

    def _value(self, argument: dict[str, Any]) -> Any:
        """An argument as Python has it. Raises ModelError for kinds that could carry more than numbers."""
        (kind, said), = argument.items()
        if kind in _PLAIN:
            return _PLAIN[kind](said)
        if kind in _PLAIN_LISTS:
            return [_PLAIN_LISTS[kind](one) for one in said]
        if kind == "as_tensor":
            return self._read(said["name"])
        if kind == "as_tensors":
            return [self._read(one["name"]) for one in said]
        if kind == "as_optional_tensors":
            return [None if "as_none" in one else self._read(_only(one)["name"]) for one in said]
        if kind == "as_none":
            return None
        if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
            return self._symbol(said)
        if kind in ("as_sym_ints", "as_sym_floats"):
            return [self._symbol(one) for one in said]
        if kind == "as_scalar_type":
            return _SCALARS[said]
        if kind == "as_memory_format":
            return _MEMORY[said]
        if kind == "as_device":
            return torch.device("cpu")
        if kind == "as_layout":
            return torch.strided
        if kind == "as_string" and said in TEXTS:
            return said
        raise ModelError(f"{self.file} gives an operator an argument of kind {kind[:40]!r}, which is not read. Export "
                         "the model to ONNX instead.")

    def _symbol(self, said: dict[str, Any]) -> Any:
        if "as_name" in said:
            return self._read(said["as_name"])
        value = _only(said)
        if not isinstance(value, bool | int | float) or not math.isfinite(value):
            raise ModelError(f"{self.file} gives an operator a symbol that is no number.")
        return value


def _only(said: dict[str, Any]) -> Any:
    """The value of a mapping of one key, as the format writes unions."""
    return said[next(iter(said))]

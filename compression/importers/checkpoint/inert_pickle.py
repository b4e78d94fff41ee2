"""What a pickle says, without doing what it says: its opcodes are read as data, and nothing they name is imported.

    root = read_pickle(data, persistent=lambda key: key)

Every class or function a pickle names becomes a Named, every call of one an Inert record of its arguments. Only
`collections.OrderedDict` and the few `torch._utils` functions that describe tensors are understood by the caller.
Source of the format: the standard library's pickletools, whose parser is used and which executes nothing.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from compression.spec.errors import ModelError

MAX_PICKLE_BYTES = 64 << 20
MAX_OPCODES = 3_000_000
MAX_DEPTH = 60
MAX_NODES = 2_000_000  # a pickle can name one list a million times over: what is walked is counted


@dataclass(frozen=True)
class Named:
    """A class or function the pickle names; it stays a name."""

    path: str


@dataclass(eq=False)
class Inert:
    """A call the pickle asks for, written down: what was named, its arguments, and what was set on it afterwards."""

    path: str
    args: tuple = ()
    state: Any = None
    items: dict = field(default_factory=dict)
    members: list = field(default_factory=list)


class _Mark:
    pass


_MARK = _Mark()
_NUMPY_SCALAR = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
_NUMPY_KINDS = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i", "b1": "<?"}
_ORDERED = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")


def read_pickle(data: bytes, *, persistent: Callable[[Any], Any] = lambda key: key) -> Any:
    """The object graph of one pickle, of any protocol. Raises ModelError for a broken or oversized one."""
    return read_first_pickle(data, persistent=persistent)[0]


def read_first_pickle(data: bytes, *, persistent: Callable[[Any], Any] = lambda key: key) -> tuple[Any, int]:
    """The first pickle in `data`, and where the bytes after it begin."""
    if len(data) > MAX_PICKLE_BYTES:
        raise ModelError(f"The pickle in the file has {len(data):,} bytes; at most {MAX_PICKLE_BYTES:,} are read. "
                         "Save the weights alone: torch.save(model.state_dict(), …).")
    machine = _Machine(persistent)
    stream = io.BytesIO(data)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_OPCODES:
                raise ModelError(f"The pickle in the file has more than {MAX_OPCODES:,} steps; it is no model.")
            machine.step(opcode.name, argument)
        return machine.result(), stream.tell()
    except ModelError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError) as error:
        raise ModelError(f"The pickle in the file is broken ({' '.join(str(error).split())[:200]}). "
                         "Save the weights again.") from None


def plain(value: Any, convert: Callable[[Any], Any] = lambda leaf: leaf) -> Any:
    """The graph as dicts, lists and scalars; an Inert is a dict with `__class__`. `convert` sees every other leaf.

    Raises ModelError if it is deeper than MAX_DEPTH or has more than MAX_NODES places.
    """
    return _Walk(convert).walk(value, 0)


class _Walk:
    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.convert, self.left = convert, MAX_NODES

    def walk(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if depth > MAX_DEPTH or self.left < 0:
            raise ModelError("The file nests its values too deep or repeats them without end; it is no model.")
        if isinstance(value, dict):
            return {key if isinstance(key, str | int | float | bool) else str(key): self.walk(item, depth + 1)
                    for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.walk(item, depth + 1) for item in value]
        if isinstance(value, Inert):
            found = {"__class__": value.path}
            for name in ("args", "state", "items", "members"):
                if getattr(value, name):
                    found[name] = self.walk(getattr(value, name), depth + 1)
            return found
        if isinstance(value, Named):
            return {"__class__": value.path}
        return self.convert(value)


class _Machine:
    """A stack, a memo, and one small act an opcode; nothing is looked up by name and nothing is called."""

    def __init__(self, persistent: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.persistent = persistent

    def result(self) -> Any:
        if len(self.stack) != 1:
            raise ModelError("The pickle in the file ends before it is complete. Save the weights again.")
        return self.stack[0]

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(argument)
        elif name in _ACTS:
            _ACTS[name](self, argument)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ModelError(f"The pickle in the file uses {name}, which no saved model needs. Save the weights alone: "
                             "torch.save(model.state_dict(), …).")

    def since_mark(self) -> list[Any]:
        """What was pushed after the last mark; both leave the stack."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise ValueError("no mark")
        found = self.stack[place + 1:]
        del self.stack[place:]
        return found

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value belongs")
        return value


def _call(machine: _Machine, function: Any, args: Any) -> None:
    if not isinstance(function, Named) or not isinstance(args, tuple):
        raise ValueError("a call of something that is no function")
    if function.path in _ORDERED:
        machine.stack.append({})
    elif function.path in ("builtins.set", "__builtin__.set") and len(args) == 1 and isinstance(args[0], list):
        machine.stack.append(list(args[0]))
    elif function.path in _NUMPY_SCALAR and len(args) == 2:
        machine.stack.append(_numpy_scalar(*args))
    else:
        machine.stack.append(Inert(function.path, args))


def _numpy_scalar(dtype: Any, raw: Any) -> Any:
    """A number or text of numpy's as the plain one it is; what is none of the common kinds stays a call."""
    kind = dtype.args[0] if isinstance(dtype, Inert) and dtype.path == "numpy.dtype" and dtype.args else None
    little = isinstance(dtype, Inert) and isinstance(dtype.state, tuple) and len(dtype.state) > 1 \
        and dtype.state[1] in ("<", "|")
    if not isinstance(kind, str) or not isinstance(raw, bytes) or not little:
        return Inert(_NUMPY_SCALAR[0], (dtype, raw))
    if kind in _NUMPY_KINDS and len(raw) == struct.calcsize(_NUMPY_KINDS[kind]):
        return struct.unpack(_NUMPY_KINDS[kind], raw)[0]
    if kind.startswith("U"):
        return raw.decode("utf-32-le").rstrip("\0")
    return Inert(_NUMPY_SCALAR[0], (dtype, raw))


def _reduce(machine: _Machine, _: Any) -> None:
    args = machine.pop()
    _call(machine, machine.pop(), args)


def _new_with_keywords(machine: _Machine, _: Any) -> None:
    keywords, args = machine.pop(), machine.pop()
    _call(machine, machine.pop(), (*args, keywords))


def _instance(machine: _Machine, argument: Any) -> None:
    _call(machine, Named(argument.replace(" ", ".")), tuple(machine.since_mark()))


def _object(machine: _Machine, _: Any) -> None:
    function, *args = machine.since_mark()
    _call(machine, function, tuple(args))


def _build(machine: _Machine, _: Any) -> None:
    state = machine.pop()
    target = machine.stack[-1]
    if isinstance(target, Inert):
        target.state = state  # the state of a dict is torch's note on versions: left out


def _set_items(machine: _Machine, pairs: list[Any]) -> None:
    target = machine.stack[-1]
    items = target.items if isinstance(target, Inert) else target
    if not isinstance(items, dict) or len(pairs) % 2:
        raise ValueError("items set on something that is no mapping")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        items[key if isinstance(key, str | int | float | bool | bytes | tuple | None) else repr(type(key))] = value


def _append(machine: _Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    members = target.members if isinstance(target, Inert) else target
    if not isinstance(members, list):
        raise ValueError("values appended to something that is no list")
    members.extend(values)


def _dict_of(machine: _Machine, _: Any) -> None:
    pairs = machine.since_mark()
    machine.stack.append({})
    _set_items(machine, pairs)


def _tuple(count: int) -> Callable[[_Machine, Any], None]:
    def act(machine: _Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))
    return act


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a name that is no text")
    machine.stack.append(Named(f"{module}.{name}"))


def _memoize(machine: _Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _put(machine: _Machine, place: int) -> None:
    machine.memo[int(place)] = machine.stack[-1]


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.since_mark()


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict, "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple, "EMPTY_SET": list, "MARK": lambda: _MARK,
}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "FLOAT", "BINFLOAT",
}
_ACTS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": lambda machine, text: machine.stack.append(Named(text.replace(" ", "."))),
    "STACK_GLOBAL": _stack_global, "REDUCE": _reduce, "NEWOBJ": _reduce, "NEWOBJ_EX": _new_with_keywords,
    "INST": _instance, "OBJ": _object, "BUILD": _build, "DICT": _dict_of,
    "SETITEM": lambda machine, _: _set_items(machine, [machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.since_mark()),
    "APPEND": lambda machine, _: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.since_mark()),
    "ADDITEMS": lambda machine, _: _append(machine, machine.since_mark()),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.since_mark()),
    "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3),
    "GET": lambda machine, place: machine.stack.append(machine.memo[int(place)]),
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "PUT": _put, "BINPUT": _put, "LONG_BINPUT": _put, "MEMOIZE": _memoize,
    "BINPERSID": lambda machine, _: machine.stack.append(machine.persistent(machine.pop())),
    "PERSID": lambda machine, key: machine.stack.append(machine.persistent(key)),
    "POP": lambda machine, _: machine.stack.pop(), "POP_MARK": _pop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
}

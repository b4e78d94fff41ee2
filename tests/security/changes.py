"""Random changes of an upload: of its bytes, and of what lies behind a checksum, a length or an encoding.

A change of raw bytes inside an archive ends at the archive's checksum. So members of archives, headers of safetensors
and fields of ONNX graphs are changed where they are read, and packed again as a sound writer would.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable

import onnx
from google.protobuf.message import DecodeError, Message

from tests.security.hostile import Files

STRANGE = (None, -1, 0, 2**31, 2**70, "x", "../../etc/passwd", [], {}, True, 1e308, [[]], "__import__('os')")
NUMBERS = (-1, 0, 1, 2, 7, 255, 2**31 - 1, 2**31, 2**62)
WORDS = (b"", b"x", b"../../etc/passwd", b"\xff\xfe", b"Identity", b"PythonOp", b"a" * 300)
Change = Callable[[bytes, random.Random], bytes]


def changed(files: Files, draw: random.Random) -> Files:
    """The upload with one of its files changed."""
    name = draw.choice(sorted(files))
    return files | {name: change(name, files[name], draw)}


def change(name: str, data: bytes, draw: random.Random) -> bytes:
    """One file with its bytes changed, cut, repeated or zeroed, or something inside it changed."""
    ways: list[Change] = [_bytes, _bytes, _cut, _repeat, _zeros]
    if data.startswith(b"PK"):
        ways += [_member] * 10
    if name.endswith(".json"):
        ways += [_json_value] * 4
    if name.endswith(".safetensors"):
        ways += [_header_value] * 5
    if name.endswith(".onnx"):
        ways += [_field] * 10
    return draw.choice(ways)(data, draw)


def _bytes(data: bytes, draw: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(draw.choice((1, 2, 8, 32)) if made else 0):
        made[draw.randrange(len(made))] = draw.randrange(256)
    return bytes(made)


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[:draw.randrange(len(data) + 1)]


def _repeat(data: bytes, draw: random.Random) -> bytes:
    begin, length, place = draw.randrange(len(data) + 1), draw.randrange(64), draw.randrange(len(data) + 1)
    return data[:place] + data[begin:begin + length] + data[place:]


def _zeros(data: bytes, draw: random.Random) -> bytes:
    begin = draw.randrange(len(data) + 1)
    length = min(draw.choice((1, 4, 8, 64)), len(data) - begin)
    return data[:begin] + draw.choice((b"\0", b"\xff")) * length + data[begin + length:]


def _member(data: bytes, draw: random.Random) -> bytes:
    """A member of the archive changed, left out, or given another's content; checksums are right again."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(made, "w") as packed:
        members = archive.infolist()
        chosen = draw.choice(members)
        way = draw.choice(("change",) * 8 + ("leave out", "exchange"))
        for member in members:
            content = archive.read(member)
            if member is chosen:
                if way == "leave out":
                    continue
                other = archive.read(draw.choice(members))
                content = other if way == "exchange" else change(member.filename, content, draw)
            packed.writestr(member.filename, content, member.compress_type)
    return made.getvalue()


def _json_value(data: bytes, draw: random.Random) -> bytes:
    """One value of the JSON, at any depth, replaced by another of any kind."""
    content = json.loads(data)
    place = content
    while isinstance(place, dict | list) and place:
        key = draw.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.2:
            place[key] = draw.choice(STRANGE)
            break
        place = place[key]
    return json.dumps(content).encode()


def _header_value(data: bytes, draw: random.Random) -> bytes:
    """One value of a safetensors header; its length is right again."""
    length, = struct.unpack("<Q", data[:8])
    header = _json_value(data[8:8 + length], draw)
    return struct.pack("<Q", len(header)) + header + data[8 + length:]


def _field(data: bytes, draw: random.Random) -> bytes:
    """A field of an ONNX graph, at any depth: another number or word, an entry left out or given twice."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:  # the upload is no graph to begin with
        return _bytes(data, draw)
    message: Message = model
    while True:
        present = message.ListFields()
        field, value = draw.choice(present) if present else (None, None)
        if field is None:
            break
        repeated = not isinstance(value, str | bytes | int | float | bool | Message)
        if field.type == field.TYPE_MESSAGE:
            inner = draw.choice(list(value)) if repeated else value
            if repeated and draw.random() < 0.15:
                value.append(inner) if draw.random() < 0.5 else value.remove(inner)
                break
            message = inner
            continue
        new = _another(field, draw)
        if repeated:
            value[draw.randrange(len(value))] = new
        else:
            setattr(message, field.name, new)
        break
    return model.SerializeToString()


def _another(field, draw: random.Random):
    """A value of a field's own type that its writer did not mean."""
    if field.type == field.TYPE_STRING:
        return draw.choice(WORDS).decode("utf-8", "ignore")
    if field.type == field.TYPE_BYTES:
        return draw.choice(WORDS)
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return draw.choice((0.0, -1.0, 3e38, float("nan"), float("inf")))
    if field.type == field.TYPE_ENUM:
        return draw.choice(field.enum_type.values).number
    return draw.choice([number for number in NUMBERS if field.type != field.TYPE_INT32 or number < 2**31])

"""Objects in a text file: JSON lines, a JSON array of objects, or dictionaries that Python printed, one a line.

Ingest reads rows of these, and so does predict.py, which has this file beside it. Standard library alone; nothing in
a file is evaluated but single quoted texts, as literals.
"""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TextIO

try:
    from compression.spec.errors import DataError
except ImportError:  # in a bundle, where RecPress is not installed
    from cells import DataError

Kind = Literal["lines", "array", "dictionaries"]
HEAD = 1 << 20  # characters by which the kind is told
LARGEST = 1 << 24  # characters of one object in an array
SPACE = " \t\r\n"
BETWEEN = re.compile(r"[\s,]*")
TOKEN = re.compile(r"""(?P<text>[uU]?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))|(?P<number>-?\d+(?:\.\d*)?"""
                   r"(?:[eE][+-]?\d+)?)L?|(?P<word>True|False|None|nan)|(?P<mark>[\[\]{}(),:])|[ \t\r]+")
WORDS = {"True": "true", "False": "false", "None": "null", "nan": "null"}
# the first of a key, as polars has
DECODER = json.JSONDecoder(object_pairs_hook=lambda pairs: dict(reversed(dict(reversed(pairs)).items())))


def kind_of(path: Path) -> Kind | None:
    """How objects stand in the file; None where it holds something else."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        return kind_in(file.read(HEAD))


def kind_in(text: str) -> Kind | None:
    """How objects stand in the text that a file begins with."""
    text = text.lstrip(SPACE)
    if re.match(r"\[\s*\{", text):
        return "array"
    if not text.startswith("{"):
        return None
    first = text.split("\n", 1)[0]
    if isinstance(parsed(first), dict):
        return "lines"
    return "dictionaries" if isinstance(parsed(as_json(first)), dict) else None


def objects_in(path: Path) -> Iterator[dict[str, Any]]:
    """Each object of the file. Raises DataError with the place of what is none."""
    kind = kind_of(path)
    if kind == "array":
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            yield from _of_array(file, path.name)
        return
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        for place, line in enumerate(file, 1):
            if not line.strip(SPACE):
                continue
            found = parsed(as_json(line) if kind == "dictionaries" else line)
            if not isinstance(found, dict):
                raise DataError(f"{path.name}: line {place:,} is no "
                                f"{'dictionary' if kind == 'dictionaries' else 'JSON object'}. Write one object a "
                                'line, such as {"user": 1, "item": 2, "label": 1}.')
            yield found


def first_objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects in the text that a file begins with; it may be cut."""
    kind = kind_in(text)
    if kind == "array":
        try:
            yield from _of_array(io.StringIO(text), "")
        except DataError:
            return  # the last one is cut
        return
    for line in text.split("\n"):
        found = parsed(as_json(line) if kind == "dictionaries" else line)
        if isinstance(found, dict):
            yield found


def parsed(text: str) -> Any:
    """What JSON writes; None where it is not JSON."""
    try:
        return DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def as_json(line: str) -> str:
    """A dictionary as Python prints one, {u'user': 'a', 'tags': ('x', None)}, as JSON; "" for any other text."""
    written: list[str] = []
    at = 0
    line = line.strip(SPACE)
    while at < len(line):
        found = TOKEN.match(line, at)
        if not found:
            return ""
        at = found.end()
        if found["mark"]:
            mark = {"(": "[", ")": "]"}.get(found["mark"], found["mark"])
            if mark in "]}" and written and written[-1] == ",":
                written.pop()  # (1,)
            written.append(mark)
        elif found["word"]:
            written.append(WORDS[found["word"]])
        elif found["number"]:
            number = found["number"]
            written.append(number + "0" if number.endswith(".") else number)
        elif found["text"]:
            try:
                written.append(json.dumps(ast.literal_eval(found["text"])))
            except (ValueError, SyntaxError):
                return ""
    return "".join(written)


def _of_array(file: TextIO, name: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON array, with little of it in memory."""
    text, at, more, count = file.read(HEAD).lstrip(SPACE), 1, HEAD, 0
    while True:
        at = BETWEEN.match(text, at).end()
        if text.startswith("]", at):
            return
        try:
            found, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            piece = file.read(more) if len(text) - at < LARGEST else ""
            if not piece:
                raise DataError(f"{name}: what follows object {count:,} of the array is no whole JSON object "
                                f"({text[at:at + 60]!r}). The file may have been cut: copy it again.") from None
            text, at, more = text[at:] + piece, 0, 2 * more  # a long object is not parsed many times over
            continue
        if not isinstance(found, dict):
            raise DataError(f"{name}: entry {count + 1:,} of the array is no JSON object. Write an object "
                            'for each row, such as {"user": 1, "item": 2, "label": 1}.')
        at, more, count = end, HEAD, count + 1
        yield found

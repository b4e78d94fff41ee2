"""YAML and JSON that strangers wrote, as plain values: length, depth and size are bounded before anything is built.

    read_yaml("steps: [{method: embed.hash}]")      # {"steps": [{"method": "embed.hash"}]}
    read_json('{"steps": []}')

Every reader of YAML calls `read_yaml`. Anchors, aliases and tags are refused; a key that is given twice is refused
where the caller doesn't allow it. PyYAML's own scanner takes quadratic time in open brackets, so depth is checked
while events arrive, never after the whole text was scanned.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.events import CollectionStartEvent, NodeEvent
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

MAX_DEPTH = 32
MAX_NODES = 60_000  # values, keys and brackets of one text
MAX_CHARS = 1_000_000
NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MAX_NUMBER_CHARS = 1000  # longer whole numbers take quadratic time and can't be printed


class TextError(ValueError):
    """A text that is not read: `problem` says why, `where` the line and column ("" where there is none)."""

    def __init__(self, problem: str, mark: yaml.Mark | None = None) -> None:
        self.problem = problem
        self.where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        super().__init__(f"{self.where}: {problem}" if self.where else problem)


class PythonParser(Reader, Scanner, Parser):
    """The events of a text without libyaml."""

    def __init__(self, text: str | bytes) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


CParser = getattr(yaml, "cyaml", None) and yaml.cyaml.CParser  # absent where PyYAML was built without libyaml


def _loader(parser: type) -> type:
    """A safe loader over the events of a parser, which stops at the first thing that isn't allowed."""

    class Bounded(Composer, parser, SafeConstructor, Resolver):
        def __init__(self, text: str | bytes, unique_keys: bool) -> None:
            parser.__init__(self, text)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)
            self.unique_keys, self.depth, self.nodes = unique_keys, 0, 0

        def compose_node(self, parent: Any, index: Any) -> yaml.Node:
            event = self.peek_event()
            mark = event.start_mark
            if isinstance(event, yaml.AliasEvent):
                raise TextError("aliases (*name) are not allowed: write the value where it is used", mark)
            if isinstance(event, NodeEvent) and event.anchor is not None:
                raise TextError("anchors (&name) are not allowed: write the value where it is used", mark)
            if getattr(event, "tag", None) is not None:
                raise TextError("tags (!name) are not allowed: write the plain value", mark)
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise TextError(f"more than {MAX_NODES:,} values; shorten the text", mark)
            deeper = isinstance(event, CollectionStartEvent)
            self.depth += deeper
            if self.depth > MAX_DEPTH:
                raise TextError(f"nested too deeply: at most {MAX_DEPTH} levels", mark)
            node = super().compose_node(parent, index)
            self.depth -= deeper
            if isinstance(node, yaml.ScalarNode):
                if len(node.value) > MAX_NUMBER_CHARS and node.tag in NUMBER_TAGS:
                    raise TextError(f"a number of more than {MAX_NUMBER_CHARS} digits", mark)
                if not is_text(node.value):
                    raise TextError("a text that holds half a character (a lone surrogate)", mark)
            return node

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            seen: set[str] = set()
            for key, _ in node.value if self.unique_keys else ():
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise TextError(f"the key '{key.value}' is given twice", key.start_mark)
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    return Bounded


_LOADER = _loader(CParser or PythonParser)


def read_yaml(text: str | bytes, *, max_chars: int = MAX_CHARS, unique_keys: bool = True, parser: type | None = None
              ) -> Any:
    """The plain value of a YAML text (JSON is one too). Raises TextError with the line that is wrong."""
    _check_length(text, max_chars)
    if text.lstrip()[:1] in ("{", b"{"):  # JSON writes an emoji as two halves, which libyaml refuses
        with suppress(json.JSONDecodeError, UnicodeError):
            return _plain_json(text, once=unique_keys)
    try:
        return (_loader(parser) if parser else _LOADER)(text, unique_keys).get_single_data()
    except TextError:
        raise
    except yaml.MarkedYAMLError as error:
        raise TextError(f"not valid YAML: {error.problem or error.context}", error.problem_mark) from None
    except (yaml.YAMLError, UnicodeError):
        raise TextError("not YAML text in UTF-8") from None
    except (ValueError, OverflowError, RecursionError) as error:  # a date or number that only looks like one
        raise TextError(f"a value that can't be read: {' '.join(str(error).split())[:200]}") from None


def read_json(text: str | bytes, *, max_chars: int = MAX_CHARS) -> Any:
    """The plain value of a JSON text: finite numbers, text that UTF-8 can hold, no deep nesting. Raises TextError."""
    _check_length(text, max_chars)
    try:
        return _plain_json(text, once=True)
    except json.JSONDecodeError as error:
        raise TextError(f"not valid JSON: {error.msg} at character {error.pos:,}") from None
    except UnicodeError:
        raise TextError("not JSON text in UTF-8") from None


def _plain_json(text: str | bytes, *, once: bool) -> Any:
    """The bounded value of a JSON text. Raises what `json.loads` raises for a text that is none, else TextError."""
    try:
        plain = json.loads(text, object_pairs_hook=unique_keys if once else None)
    except RecursionError:
        raise TextError(f"nested too deeply: at most {MAX_DEPTH} levels") from None
    except (json.JSONDecodeError, UnicodeError, TextError):
        raise
    except ValueError:  # Python's own bound on the digits of a whole number
        raise TextError(f"a number of more than {MAX_NUMBER_CHARS} digits") from None
    _check_plain(plain)
    return plain


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as `object_pairs_hook` takes it. Raises TextError where it names a key twice, of which JSON
    itself would keep the last."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise TextError(f"the key {key[:60]!r} is given twice")
        found[key] = value
    return found


def _check_length(text: str | bytes, max_chars: int) -> None:
    if len(text) > max_chars:
        raise TextError(f"at most {max_chars:,} characters are read; got {len(text):,}")


def _check_plain(plain: Any) -> None:
    """Raise TextError for what JSON's reader lets through and nothing behind it can hold."""
    level, nodes = [plain], 0
    for _ in range(MAX_DEPTH + 1):
        nodes += len(level)
        if nodes > MAX_NODES:
            raise TextError(f"more than {MAX_NODES:,} values; shorten the text")
        below: list[Any] = []
        for value in level:
            if isinstance(value, float) and not math.isfinite(value):
                raise TextError("NaN and infinity are no JSON numbers")
            if isinstance(value, int) and value.bit_length() > 3.33 * MAX_NUMBER_CHARS:
                raise TextError(f"a number of more than {MAX_NUMBER_CHARS} digits")
            if isinstance(value, str) and not is_text(value):
                raise TextError("a text that holds half a character (a lone surrogate)")
            if isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
        level = below
    if level:
        raise TextError(f"nested too deeply: at most {MAX_DEPTH} levels")


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold a text; a lone surrogate from an escape or an address can't be stored or sent."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

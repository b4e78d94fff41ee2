"""Text of strangers: no YAML or JSON keeps the reader busy, and every YAML reader of the project is the bounded one."""

from __future__ import annotations

import ast
import time
import zlib
from pathlib import Path

import pytest
import yaml

from compression.data.description import load_description
from compression.spec import plain_text
from compression.spec.errors import DataError, RecipeError
from compression.spec.link import unpack
from compression.spec.plain_text import MAX_DEPTH, MAX_NODES, TextError, read_json, read_yaml
from compression.spec.recipe import load_recipe
from tests.spec.test_link import token_of

ROOT = Path(__file__).parents[2]
LOTS = 30_000
PARSERS = [parser for parser in (plain_text.CParser, plain_text.PythonParser) if parser]
SLOW_BEFORE = {
    "brackets": "[" * LOTS, "braces": "{" * LOTS, "pairs": "[{" * LOTS, "dashes": "- " * LOTS,
    "questions": "? " * LOTS, "digits": "9" * LOTS,
    "lines of brackets": "[\n" * LOTS, "indented": "\n".join(" " * place + "a:" for place in range(300)),
    "siblings": "[" + "[]," * LOTS * 2 + "]", "base 60": "1" + ":1" * LOTS,
}


def seconds_of(call, *arguments) -> float:
    start = time.thread_time()
    with pytest.raises((TextError, RecipeError, DataError)):
        call(*arguments)
    return time.thread_time() - start


@pytest.mark.slow
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize("text", SLOW_BEFORE.values(), ids=SLOW_BEFORE)
def test_a_text_twenty_times_as_long_does_not_take_the_square_of_the_time(text, parser):
    # the cost of a refusal is bounded by the limits, whatever follows
    short = min(seconds_of(lambda: read_yaml(text, parser=parser)) for _ in range(3))
    long = min(seconds_of(lambda: read_yaml(text * 16, parser=parser)) for _ in range(3))
    assert long < 40 * (short + 0.005)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"x: " + b"[" * 90_000, b'{"a":' * 20_000, b"- " * 50_000])
def test_a_short_link_costs_no_more_than_a_normal_one(text):
    normal = min(seconds_of(unpack, token_of(zlib.compress(b'{"steps": [{"method": "nope"}]}'))) for _ in range(3))
    assert len(token_of(zlib.compress(text, 9))) < 400
    assert min(seconds_of(unpack, token_of(zlib.compress(text, 9))) for _ in range(3)) < 100 * (normal + 0.001)


def test_a_link_carries_json_alone():
    with pytest.raises(RecipeError, match="not valid JSON"):
        unpack(token_of(zlib.compress(b"version: 1\nname: by hand\nsteps: []\n")))


def test_only_one_file_reads_yaml():
    readers = {"load", "safe_load", "full_load", "unsafe_load", "scan", "parse", "compose", "load_all", "safe_load_all",
               "compose_all", "SafeLoader", "Loader", "CSafeLoader"}
    wrong = []
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT)
        elsewhere = place.parts[0] in ("tests", "benchmarks") or place.parts[0].startswith(".")  # .venv
        if elsewhere or place.as_posix() == "compression/spec/plain_text.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "yaml" and node.attr in readers:
                wrong.append(f"{place}:{node.lineno}")
    assert not wrong


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
@pytest.mark.parametrize(("text", "says"), [
    ("a: &b 1", "anchors"), ("a: *b", "aliases"), ("a: !!python/name:os.system x", "tags"),
    ("a: !!binary aGk=", "tags"), ("a: 0x" + "f" * 1001, "more than 1000 digits"),
    ("a: 1\na: 2", "line 2, column 1: the key 'a' is given twice"), ("a: 2024-13-45", "can't be read"),
    ("[" * 40 + "]" * 40, f"at most {MAX_DEPTH} levels"), ("a: [1", "not valid YAML"), (b"\xff\xfe\xff", "UTF-8"),
    ("[" + "1," * MAX_NODES + "1]", "more than 60,000 values"), ("x" * 1_000_001, "at most 1,000,000 characters"),
    ("a: " + "9" * 1001, "more than 1000 digits"), ("\ud800", "UTF-8"), ('"\\ud800"', "character|surrogate"),
])
def test_yaml_that_is_not_read_is_refused_with_the_reason(text, says, parser):
    with pytest.raises(TextError, match=says):
        read_yaml(text, parser=parser)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.__name__)
def test_ordinary_yaml_reads_as_it_always_did(parser):
    text = "name: größe\nsteps:\n- {method: a.b, params: {x: 0.5, y: [1, 2], z: null, w: yes}}\nwhen: 2024-01-02\n"
    assert read_yaml(text, parser=parser) == yaml.safe_load(text)
    assert read_yaml("a: 1\na: 2", unique_keys=False, parser=parser) == {"a": 2}
    assert read_yaml("", parser=parser) is None


@pytest.mark.parametrize(("text", "says"), [
    ("[" * 100_000, "nested too deeply"), ("[" * 40 + "]" * 40, "nested too deeply"),
    ("NaN", "NaN"), ("-Infinity", "NaN"), ("1e999", "infinity"),
    ("9" * 5000, "1000 digits"), ("9" * 2000, "1000 digits"), ('"\\ud800"', "surrogate"),
    ('{"\\udfff": 1}', "surrogate"), ("[1", "not valid JSON"), (b"\xff", "UTF-8"), ("", "not valid JSON"),
    ("[" + "1," * MAX_NODES + "1]", "more than 60,000 values"),
])
def test_json_that_is_not_read_is_refused_with_the_reason(text, says):
    with pytest.raises(TextError, match=says):
        read_json(text)


def test_json_in_place_of_yaml_keeps_its_emoji_and_its_bounds():
    assert read_yaml('{"a": "\\ud83d\\ude00", "b": 1e5}') == {"a": "\U0001f600", "b": 1e5}
    for text, says in (('{"a": 1, "a": 2}', "'a' is given twice"),
                       ('{"a":' * 50 + "1" + "}" * 50, "nested too deeply")):
        with pytest.raises(TextError, match=says):
            read_yaml(text)


def test_json_within_the_bounds_is_read():
    assert read_json('{"a": [1, 2.5, "ü", null, true]}') == {"a": [1, 2.5, "ü", None, True]}
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


@pytest.mark.parametrize("text", ["version: 1\nsteps: " + "[" * 90_000, "{a: " * 20_000])
def test_deep_recipes_and_descriptions_are_refused_at_once(text, tmp_path):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(RecipeError, match="nested too deeply"):
        load_recipe(text)
    with pytest.raises(DataError, match="nested too deeply"):
        load_description(tmp_path)

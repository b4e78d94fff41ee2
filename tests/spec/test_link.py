"""A recipe in an address: it arrives whole, and a link that was cut, forged or overgrown gets a sentence."""

from __future__ import annotations

import base64
import json
import string
import zlib

import pytest

from compression.spec.errors import RecipeError
from compression.spec.link import MAX_TOKEN_CHARS, TOO_LONG, VERSION, pack, unpack
from compression.spec.presets import PRESETS
from compression.spec.recipe import MAX_RECIPE_CHARS, load_recipe
from compression.spec.records import Recipe, Step

RECIPE = Recipe(name="größer & kleiner?", seed=7, steps=(
    Step(method="prune.channels", params={"ratio": 0.25}), Step(method="train.fine_tune", params={"epochs": 3}),
    Step(method="embed.quantize_rows", params={"n_bits": 4})))


def token_of(data: bytes) -> str:
    return VERSION + base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("recipe", [Recipe(), RECIPE, *(preset.recipe for preset in PRESETS.values())],
                         ids=lambda recipe: recipe.name)
def test_a_recipe_arrives_as_it_left(recipe):
    token = pack(recipe)
    assert unpack(token) == recipe
    assert set(token) <= set(string.ascii_letters + string.digits + "-_")
    assert len(token) < 1000


@pytest.mark.parametrize(("token", "sentence"), [
    ("", "of a form that this version"),
    ("2abc", "of a form that this version"),
    (pack(RECIPE)[:-3], "cut off or changed"),
    (pack(RECIPE)[:20] + "!" + pack(RECIPE)[21:], "cut off or changed"),
    ("1" + "a" * MAX_TOKEN_CHARS, "at most 4,000 fit"),
    ("1é", "cut off or changed"),
    (token_of(zlib.compress(b"\xff\xfe")), "cut off or changed"),
    (token_of(zlib.compress(json.dumps({"steps": [{"method": "nope"}]}).encode())), "There is no method 'nope'"),
    (token_of(zlib.compress(b'{"steps": [{"method": "embed.hash", "params": {"keep": 9}}]}')), "keep of embed.hash"),
    (token_of(zlib.compress(b"[1, 2]")), "A recipe is a mapping"),
    (token_of(zlib.compress(b" " * (MAX_RECIPE_CHARS + 1))), "at most 100000 characters"),
    (token_of(zlib.compress(b"0" * 400_001)), "cut off or changed"),
    (token_of(zlib.compress(b"[" * 3000)), "nested too deeply"),
])
def test_a_broken_link_gets_a_sentence(token, sentence):
    with pytest.raises(RecipeError, match=sentence):
        unpack(token)


def test_a_recipe_too_long_for_a_link_is_told_to_go_by_file():
    noise = "".join(chr(0x4E00 + (index * 7919) % 20000) for index in range(3000))
    with pytest.raises(RecipeError) as refused:
        pack(Recipe(name=noise))
    assert str(refused.value) == TOO_LONG


@pytest.mark.parametrize(("text", "sentence"), [
    ("a: &a [1]\nsteps: *a", "anchors .&name. are not allowed"),
    ("version: 1\nsteps: [" + "{method: quantize.dynamic}," * 101 + "]", "at most 100 steps; got 101"),
    ("version: 1\nsteps: [{method: embed.hash, params: {keep: '" + "x" * 5000 + "'}}]", "got 'xxx.*…"),
])
def test_a_recipe_that_would_blow_up_is_refused(text, sentence):
    with pytest.raises(RecipeError, match=sentence) as refused:
        load_recipe(text)
    assert len(str(refused.value)) < 300

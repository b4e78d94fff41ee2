"""The settings of every method, in their order, and the digest of a recipe of each: held as a table.

A line that differs renames every stored result of the method, or moves its sliders. The table is written anew by
`python -m tests.methods.test_default_settings`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from compression.spec.errors import RecipeError
from compression.spec.method import METHODS
from compression.spec.recipe import digest, dump_recipe
from compression.testing.steps import recipe_of

TABLE = Path(__file__).with_suffix(".txt")


def written_table() -> str:
    return "".join(f"{key} {digest(recipe_of((key, {})))[:16]} {', '.join(METHODS[key].params.model_fields)}\n"
                   for key in sorted(METHODS))


def test_settings_and_digests_are_what_the_table_holds():
    assert written_table() == TABLE.read_text(encoding="utf-8")


@pytest.mark.parametrize("key", sorted(METHODS))
def test_a_recipe_and_a_schema_list_settings_in_the_order_of_the_sliders(key):
    names = list(METHODS[key].params.model_fields)
    assert list(METHODS[key].params.model_json_schema().get("properties", {})) == names
    assert list(METHODS[key].parse({}).model_dump()) == names
    written = dump_recipe(recipe_of((key, {})))
    assert sorted(names, key=lambda name: written.index(f" {name}:")) == names


def test_shared_settings_stand_behind_a_methods_own_and_keep_their_bounds():
    static = METHODS["quantize.static"]
    assert list(static.params.model_fields)[-4:] == ["n_bits", "min_features", "skip_output", "keep_float"]
    with pytest.raises(RecipeError, match=r"min_features of quantize.static must be a whole number in \[1, 4,096\]"):
        static.parse({"min_features": 0})


if __name__ == "__main__":
    TABLE.write_text(written_table(), encoding="utf-8")

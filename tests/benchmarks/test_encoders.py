"""The benchmark of encoders: its recipes can run, a folder is zipped as it is, and goals say what was missed."""

from __future__ import annotations

import zipfile

from benchmarks.encoders import RECIPES, goals, line, zipped
from benchmarks.encoders_reference import texts
from compression.spec.recipe import check
from compression.spec.records import Recipe


def test_every_recipe_can_run():
    for name, steps in RECIPES.items():
        assert [one.message for one in check(Recipe(name=name, steps=steps)) if one.severity == "error"] == []


def test_a_folder_is_zipped_under_the_names_it_has(tmp_path):
    (tmp_path / "encoder" / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", ".gitattributes", "1_Pooling/config.json"):
        (tmp_path / "encoder" / name).write_text(name)
    with zipfile.ZipFile(zipped(tmp_path / "encoder", tmp_path / "encoder.zip")) as archive:
        assert sorted(archive.namelist()) == [".gitattributes", "1_Pooling/config.json", "config.json"]


def test_pairs_are_eighty_questions_with_answers():
    found = texts()
    assert len(found) == len(set(found)) == 80 and all(len(first) > 15 and len(rest) > 40 for first, rest in found)


def test_goals_count_time_memory_and_failures():
    good = {"seconds": 9.0, "processor_seconds": 4.0, "peak_bytes": 1e9}
    said = goals(good, {"as it is": good, "slow": good | {"seconds": 200.0}, "broken": good | {"failed": "no"},
                        "large": good | {"peak_bytes": 4e9}}).splitlines()
    assert [one.endswith(", reached") for one in said] == [True, False, False, False]
    assert said[0] == "- Import: 9.0 s of 15 s, 1.00 GB of 3 GB, reached"
    assert line("broken", good | {"failed": "no"}, None)[:5] == ["broken", "9", "4", "1.00", "failed: no"]

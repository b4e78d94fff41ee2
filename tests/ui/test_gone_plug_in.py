"""What was made with a plug-in stays readable once its package is gone, and pages say what is missing."""

from __future__ import annotations

import sqlite3

import pytest

from tests.ui.app import open_page, texts
from tests.ui.hostile import TEXT, shown_live

STORED_IN = {"$.task": (("datasets", "description"),),
             "$.target.runtime": (("jobs", "spec"),), "$.runtime": (("projects", "target"),),
             "$.recipe.steps[0].method": (("jobs", "spec"),)}
VISITS = (("home", {}), ("models", {}), ("datasets", {}), ("experiment", {}), ("runs", {}), ("compare", {}),
          ("methods", {}), ("settings", {}))


def rename(home, path: str, name: str = "gone") -> None:
    """Give every stored key at this path of its JSON another name, as if its package had been taken away."""
    with sqlite3.connect(home / "recpress.db") as database:
        for table, column in STORED_IN[path]:
            changed = database.execute(f"UPDATE {table} SET {column} = json_set({column}, '{path}', ?)"
                                       f" WHERE json_extract({column}, '{path}') IS NOT NULL", (name,)).rowcount
            assert changed > 0, f"no {path} is stored in {table}.{column}"


@pytest.mark.slow
@pytest.mark.parametrize("path", STORED_IN)
def test_every_page_opens(ids, home, path):
    rename(home, path)
    for page, query in (*VISITS, ("run", {"id": ids["int8 all"]}), ("experiment", {"clone": ids["int8 all"]})):
        app = open_page(page, **query)
        assert not app.exception and len(texts(app)) > 20, (page, query, app.exception)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "query"), [("compare", {}), ("run", {"id": "int8 all"})])
def test_a_run_whose_task_is_gone_is_judged_by_the_usual_one_and_says_so(ids, home, page, query):
    rename(home, "$.task")
    app = open_page(page, **{name: ids[value] for name, value in query.items()})
    assert "The task 'gone' of this dataset isn't installed any more" in app.warning[0].value


def test_a_recipe_whose_method_is_gone_says_so_when_it_is_tried_again(ids, home):
    rename(home, "$.recipe.steps[0].method")
    assert "gone" in texts(open_page("experiment", clone=ids["int8 all"]))


@pytest.mark.parametrize("path", STORED_IN)
def test_a_key_that_is_gone_is_shown_as_it_stands(ids, home, path):
    rename(home, path, TEXT)
    for page, query in (*VISITS, ("run", {"id": ids["int8 all"]}), ("experiment", {"clone": ids["int8 all"]})):
        assert shown_live(open_page(page, **query)) == [], (page, query)


def test_a_run_whose_runtime_is_gone_is_tried_again_in_the_usual_one_and_says_so(ids, home):
    rename(home, "$.target.runtime")
    app = open_page("experiment", clone=ids["int8 all"])
    assert any("The runtime 'gone' isn't installed any more: ONNX Runtime is chosen." in one.value
               for one in app.warning)

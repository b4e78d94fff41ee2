"""A new page is its file in pages/ and its line in ui/shared/pages.py: a copy of the project is given one.

In that copy it is in the navigation at its place, opens by its address under its own title, is linked to by its key,
and stands in every list of pages that tests walk.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contracts.project_copy import copy_project, python

NEEDED = ("compression", "docs/methods", "jobs", "pages", "plots", "router.py", "static", "storage", "tests", "ui",
          "pyproject.toml")
PAGE = """\
import streamlit as st

from ui.shared.shell import page_title
from ui.shared.state import page_link

page_title("Release notes", "What a test adds.")
page_link("notes", "Here again")
"""
LINE = '    Page("notes", "pages/notes.py", "Notes"),\n'
VISIT = """\
import json

import streamlit as st

shown, titles = [], []
navigation, set_page_config = st.navigation, st.set_page_config
st.navigation = lambda pages, **options: shown.extend(
    (page.title, page.url_path) for page in pages if page.visibility == "visible") or navigation(pages, **options)
st.set_page_config = lambda **options: titles.append(options["page_title"]) or set_page_config(**options)

from tests.ui.app import open_page, texts

app = open_page("notes")
print(json.dumps({"shown": shown, "titles": titles, "said": texts(app), "failed": len(app.exception)}))
"""
LISTS = """\
import json

from tests.browser import test_no_other_host, test_pages_in_chromium
from tests.ui import test_hostile_text

lists = (test_hostile_text.VISITS, test_pages_in_chromium.VISITS, test_no_other_host.VISITS)
print(json.dumps([["notes" in visits, "methods" in visits] for visits in lists]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the new page in it, before Settings."""
    folder = copy_project(tmp_path_factory.mktemp("project"), NEEDED)
    (folder / "pages/notes.py").write_text(PAGE, encoding="utf-8")
    pages = folder / "ui/shared/pages.py"
    before, settings = '    Page("settings"', pages.read_text(encoding="utf-8")
    assert settings.count(before) == 1
    pages.write_text(settings.replace(before, LINE + before), encoding="utf-8")
    return folder


def test_it_is_in_the_navigation_and_opens_under_its_title(project, tmp_path):
    (project / "visit.py").write_text(VISIT, encoding="utf-8")
    told = json.loads(python(project, "visit.py", RECPRESS_HOME=str(tmp_path)).strip().splitlines()[-1])
    assert told["shown"][-2:] == [["Notes", "notes"], ["Settings", "settings"]]
    assert told["titles"][-1] == "Notes · RecPress" and told["failed"] == 0
    assert "Release notes" in told["said"]


def test_it_is_in_every_list_of_pages_that_tests_walk(project):
    (project / "lists.py").write_text(LISTS, encoding="utf-8")
    assert json.loads(python(project, "lists.py")) == [[True, True]] * 3


def test_the_tests_of_every_page_hold_for_it(project):
    told = python(project, "-m", "pytest", "-p", "no:cacheprovider", "tests/ui/test_hostile_text.py",
                  "tests/ui/test_torch_free.py", "-k", "notes or every_page")
    assert "2 passed" in told

"""Text of strangers is shown as it stands on every page: no link, image, HTML, icon or formula; no cell that runs."""

from __future__ import annotations

import json
import re

import pytest

from tests.ui.app import open_page
from tests.ui.hostile import ELSEWHERE, SHORT, TEXT, escaped_twice, hostile_home, shown_live
from ui.shared.escape import APART, escaped
from ui.shared.pages import PAGES
from ui.shared.table import defused, draw_dataframe

# name → (page, its query); a value that names something of the home stands for its id
VISITS = {page.key: (page.key, {}) for page in PAGES} | {
    "model": ("models", {"id": "model"}), "model_gone": ("models", {"id": TEXT}),
    "rebind": ("models", {"add": "upload", "model": "model"}), "train": ("models", {"add": "train"}),
    "import_active": ("models", {"job": "active"}),
    "dataset": ("datasets", {"id": "data"}), "data_gone": ("datasets", {"id": TEXT}),
    "add_data": ("datasets", {"add": "upload"}), "import": ("datasets", {"job": "import"}),
    "subject": ("experiment", {"model": "model", "data": "data"}), "clone": ("experiment", {"clone": "run"}),
    "recipe_gone": ("experiment", {"recipe": TEXT}),
    "runs_q": ("runs", {"q": SHORT}), "run_done": ("run", {"id": "run"}), "run_failed": ("run", {"id": "failed"}),
    "run_active": ("run", {"id": "active"}),
    "compare_side": ("compare", {"side": "two", "pick": "run", "pin": "run"}),
    "compare_saved": ("compare", {"c": "comparison"}), "compare_none": ("compare", {"q": f"no {SHORT}"}),
    "comparison_gone": ("compare", {"c": TEXT}), "method_gone": ("methods", {"method": TEXT}),
}

TEXTS = [
    TEXT, SHORT, "http://a.example", "HTTPS://A.example", "see www.a.example", "WWW.a.example", "me@a.example",
    "mailto:me@a.example", "xmpp:me@a.example", "[a](b)", "![a](b)", "[a]: b", "<a href='b'>", "<http://a.example>",
    "&lt;b&gt;", "&#60;b&#62;", "# a", "a\n===", "a\n---", "    code", "\tcode", "```\ncode\n```", "- a", "1. a", "> a",
    "| a |\n|---|", "*a*", "_a_", "~~a~~", "`a`", "a  \nb", "a\\\nb", "a\x00b", "\\[a](b)", "\\", "***", "[^1]",
    "a\u2028b", "\u202ea"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    return folder, hostile_home(folder)


@pytest.fixture
def ids(home, monkeypatch):
    folder, found = home
    monkeypatch.setenv("RECPRESS_HOME", str(folder))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return {**found, "run": found["runs"][1], "failed": found["failed"][0], "import": found["failed"][1],
            "two": f"{found['runs'][0]},{found['runs'][1]}"}


def opened(name: str, ids: dict):
    page, query = VISITS[name]
    return open_page(page, **{key: ids.get(value, value) for key, value in query.items()})


@pytest.mark.parametrize("name", VISITS)
def test_no_page_makes_markdown_of_what_strangers_wrote(ids, name):
    app = opened(name, ids)
    assert not app.exception
    assert shown_live(app) == []
    assert escaped_twice(app) == []


@pytest.mark.parametrize("name", ["dataset", "model", "runs", "compare", "compare_side", "run_done", "models",
                                  "datasets"])
def test_no_table_has_a_cell_that_a_spreadsheet_would_run(ids, name):
    tables = opened(name, ids).dataframe
    assert tables
    for table in tables:
        cells = [*map(str, table.value.columns), *(cell for column in table.value for cell in table.value[column])]
        assert not [cell for cell in cells if isinstance(cell, str) and cell.startswith(("=", "@", "\t"))]


@pytest.mark.parametrize("text", TEXTS)
def test_escaped_text_is_one_line_of_plain_text(text):
    made = escaped(text)
    assert "\n" not in made and made == made.strip()
    bare = re.sub(r"\\[!-/:-@\\[-`{-~]", "·", made)  # CommonMark takes a backslash before any of these as "literally"
    assert not re.search(r"[`*\[\]<~$\\]|(?<!\w)_|_(?!\w)|&[#\w]|^[#>+=-]|^\d+[.)]", bare)
    shown = re.sub(r"\\(.)", r"\1", made).replace(APART, "")
    assert shown == " ".join(re.sub("[\x00\u202e]", "", text).split())


@pytest.mark.parametrize("text", ["http://a.example", "https://a", "HTTP://A", "www.a.example", "a@b.example",
                                  ":smile:", ":+1:", ":material/home:", ":streamlit:", ":red[a]", ":red-background[a]"])
def test_what_is_looked_for_in_finished_text_is_taken_apart(text):
    unescaped = re.sub(r"\\(.)", r"\1", escaped(text))
    assert not re.search(r"https?://|www\.|\w@\w|:[\w+-]+:|:material/|:[a-z-]+\[", unescaped, re.IGNORECASE)
    assert unescaped.replace(APART, "") == text


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|' /C calc'!A0", "-1+cmd|x", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1",
                                  "-a", "\tx", "+1-1", "-2*3", "- 5 + 1"])
def test_a_cell_that_a_spreadsheet_would_run_is_defused(cell):
    assert defused(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["-1", "+0.5", "-0.0004", "+12 %", "-1,234.5", "+3.2 ms", "-0.0010 to +0.0004",
                                  "-1e-05", "a=b", "", "—", 5, None, -3.5, True])
def test_numbers_and_other_cells_stay_as_they_are(cell):
    assert defused(cell) == cell


def test_labels_of_figures_are_no_markup(ids):
    found = 0
    for name in ("compare", "run_done", "model", "dataset"):
        for chart in opened(name, ids).get("plotly_chart"):
            spec = json.loads(chart.proto.spec)
            texts = list(strings({"data": spec["data"], "layout": {key: value for key, value in spec["layout"].items()
                                                                    if key != "template"}}))
            found += any(ELSEWHERE in text for text in texts)
            assert not [text for text in texts if re.search(r"<(?!b>|/b>|br>|extra>|/extra>)", text)]
    assert found >= 3


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in ("ids", "parents"):  # names of tiles, never shown
                yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


@pytest.mark.parametrize("data", [[{"=a": "=1", "b": 2}, {"=a": "@x", "b": -3.5}],
                                  {"=a": ["=1", "@x"], "b": [2, -3.5]}])
def test_a_table_is_defused_whether_its_data_comes_by_rows_or_by_columns(data, monkeypatch):
    shown = []
    monkeypatch.setattr("ui.shared.table.st.dataframe", lambda data, **options: shown.append((data, options)))
    draw_dataframe(data, hide_index=True)
    rows = [{"'=a": "'=1", "b": 2}, {"'=a": "'@x", "b": -3.5}]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert shown == [(columns if isinstance(data, dict) else rows, {"hide_index": True})]


def test_the_folder_and_the_database_of_settings_are_no_markup(tmp_path, monkeypatch):
    folder = tmp_path / "a [l](http:__evil.example) :smile: `c`"
    folder.mkdir()
    monkeypatch.setenv("RECPRESS_HOME", str(folder))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    app = open_page("settings")
    assert not app.exception and f"Home folder: {escaped(folder)} " in "".join(one.value for one in app.caption)
    assert shown_live(app) == []

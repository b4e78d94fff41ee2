"""The upload widget in a real browser: pieces, a lost connection, a reload in the middle, refusals, dark and light."""

from __future__ import annotations

import re

import pytest

from compression.testing.tiny import write_tiny_data
from storage.access import LOCAL_ACCESS
from storage.store import open_store
from tests.browser.look import axe_findings, go, picture, settle

pytestmark = pytest.mark.browser
PIECE = 8 * 1024 * 1024


@pytest.fixture(params=["light", "dark"])
def page(browser, request):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=request.param)
    opened = context.new_page()
    opened.theme = request.param
    yield opened
    context.close()


def large_csv(folder):
    """Two pieces of the widget and a bit."""
    path = folder / "large.csv"
    line = b"u1,i1,0,"
    path.write_bytes(b"user,item,click,note\n" + b"".join(
        line + str(row).encode() + b"\n" for row in range(1_400_000)))
    assert 3 * PIECE > path.stat().st_size > 2 * PIECE
    return path


def choose(page, path) -> None:
    page.locator("input[type=file]").set_input_files(str(path))


def test_an_uploaded_table_is_guessed_saved_and_listed(app, page, tmp_path):
    data = write_tiny_data(tmp_path / "data", rows=1000)
    go(page, f"{app.url}/datasets?add=upload")
    assert axe_findings(page) == []
    choose(page, data / "clicks.csv")
    page.get_by_role("button", name="Save the dataset").wait_for()
    settle(page)
    picture(page, f"dataset-review-{page.theme}")
    assert axe_findings(page) == []
    page.get_by_role("button", name="Save the dataset").click()
    page.get_by_role("button", name="Upload a model for it").wait_for(timeout=60_000)
    store = open_store(LOCAL_ACCESS, url=f"sqlite:///{app.home / 'recpress.db'}", root=app.home)
    assert [row.name for row in store.datasets()] == ["clicks"]


def test_a_lost_connection_and_a_reload_only_cost_the_piece_that_was_under_way(app, browser, tmp_path):
    path = large_csv(tmp_path)
    page = browser.new_context().new_page()
    sent: list[int] = []

    def after_the_first_piece(route):
        offset = int(route.request.headers["upload-offset"])
        if offset > 0:
            route.abort()
        else:
            sent.append(offset)
            route.continue_()

    page.route(re.compile(r"/api/uploads/[0-9a-f]{32}$"), lambda route: after_the_first_piece(route)
               if route.request.method == "PATCH" else route.continue_())
    go(page, f"{app.url}/datasets?add=upload")
    choose(page, path)
    page.get_by_text("The connection was lost. Trying again.").wait_for(timeout=20_000)
    page.unroute_all()
    page.reload()
    page.get_by_text("Unfinished: large.csv").wait_for(timeout=20_000)
    page.on("request", lambda request: sent.append(int(request.headers["upload-offset"]))
            if request.method == "PATCH" else None)
    choose(page, path)
    page.get_by_text(re.compile(r"MB, ready")).wait_for(timeout=60_000)
    assert sent == [0, PIECE, 2 * PIECE]
    store = open_store(LOCAL_ACCESS, url=f"sqlite:///{app.home / 'recpress.db'}", root=app.home)
    assert any(file.stat().st_size == path.stat().st_size for file in (store.home / "files" / "objects").glob("*/*"))
    page.context.close()


def test_a_pickle_is_refused_beside_its_name(app, browser, tmp_path):
    (tmp_path / "model.pickle").write_bytes(b"\x80\x04")
    page = browser.new_context().new_page()
    go(page, f"{app.url}/models?add=upload")
    choose(page, tmp_path / "model.pickle")
    page.get_by_text("can run code when it is opened").wait_for(timeout=10_000)
    assert page.get_by_role("alert").filter(has_text="model.pickle").count() == 1
    page.get_by_role("button", name="Remove model.pickle").click()
    assert page.get_by_text("can run code when it is opened").count() == 0
    page.context.close()


def test_a_model_is_read_while_the_page_goes_on_and_a_refused_one_can_be_read_again(app, browser, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\0no graph\xff")
    page = browser.new_context().new_page()
    go(page, f"{app.url}/models?add=upload")
    choose(page, tmp_path / "net.onnx")
    reading, again = page.get_by_text("Reading the file in a process of its own"), page.get_by_role(
        "button", name="Read it again")
    reading.wait_for(timeout=20_000)
    again.wait_for(timeout=60_000)
    page.get_by_text("not a whole ONNX file").wait_for()
    settle(page)
    again.click()
    reading.wait_for(timeout=20_000)
    again.wait_for(timeout=60_000)
    page.context.close()

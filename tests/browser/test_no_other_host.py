"""A page loads from its own server alone, and the content security policy lets everything of the app work."""

import pytest

from tests.browser.look import go, settle
from tests.browser.test_pages_in_chromium import VISITS

pytestmark = pytest.mark.browser


@pytest.fixture
def watched(browser, filled_app):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.problems, page.elsewhere = [], []
    page.on("console", lambda said: page.problems.append(said.text) if "Content Security" in said.text else None)
    page.on("request", lambda asked: None if asked.url.startswith((filled_app.url, "data:", "blob:"))
            else page.elsewhere.append(asked.url))
    yield page
    context.close()


@pytest.mark.parametrize("name", VISITS)
def test_no_page_asks_another_host_or_breaks_its_policy(filled_app, watched, name):
    go(watched, f"{filled_app.url}/{VISITS[name]}")
    settle(watched)
    watched.wait_for_timeout(500)
    assert not watched.problems and not watched.elsewhere


def test_a_page_cannot_be_framed_nor_show_an_image_of_another_host(filled_app, watched):
    go(watched, filled_app.url)
    watched.evaluate("""() => { const image = document.createElement('img'); image.src = 'http://127.0.0.2:9/x.png';
                               document.body.append(image); }""")
    watched.wait_for_timeout(500)
    assert any("127.0.0.2" in problem for problem in watched.problems)
    watched.problems.clear()
    watched.goto("about:blank")
    watched.set_content(f'<iframe src="{filled_app.url}"></iframe>')
    watched.wait_for_timeout(1500)
    assert watched.frames[-1].url.startswith("chrome-error:") or watched.problems

"""Names that hold images, links and markup, as a real browser shows them: text alone, and nothing of another host."""

from urllib.parse import quote

import pytest

from tests.browser.conftest import serve
from tests.browser.look import go, settle
from tests.ui.hostile import ELSEWHERE, SHORT, hostile_home
from tests.ui.test_hostile_text import VISITS
from ui.shared.pages import PAGE_OF

pytestmark = pytest.mark.browser
FOREIGN = """() => [...document.querySelectorAll('a, img, iframe, object, embed, link, script, source')].map(
  one => one.href?.baseVal ?? one.href ?? one.src ?? one.data ?? '').filter(
  url => url && !url.startsWith(location.origin) && !/^(data|blob):/.test(url))"""
MADE = """() => [...document.querySelectorAll('.stMarkdown, [data-testid=stAlert], label, button, summary, [role=tab]')]
  .flatMap(one => [...one.querySelectorAll('img, .katex, code')]).map(one => one.outerHTML).filter(
  made => /evil|x\\^2|^<code>c</.test(made))"""


@pytest.fixture(scope="module")
def hostile_app(tmp_path_factory):
    home = tmp_path_factory.mktemp("hostile")
    found = hostile_home(home)
    for served in serve(home):
        yield served, found


def address(served, found: dict, name: str) -> str:
    ids = {**found, "run": found["runs"][1], "failed": found["failed"][0], "import": found["failed"][1],
           "two": f"{found['runs'][0]},{found['runs'][1]}"}
    page, query = VISITS[name]
    words = "&".join(f"{key}={quote(str(ids.get(value, value)))}" for key, value in query.items())
    return f"{served.url}/{PAGE_OF[page].address}?{words}"


def test_no_page_shows_an_image_or_a_link_of_another_host(hostile_app, browser):
    served, found = hostile_app
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url.partition("?")[0]))
    wrong = {}
    for name in VISITS:
        go(page, address(served, found, name))
        for tab in page.get_by_role("tab").all():
            tab.click()
        settle(page)
        problems = [url for url in page.evaluate(FOREIGN) if "streamlit" not in url] + page.evaluate(MADE)
        if problems:
            wrong[name] = problems[:3]
    assert not wrong and not [url for url in asked if ELSEWHERE in url]
    page.context.close()


def test_a_hostile_name_is_read_as_it_was_written(hostile_app, browser):
    served, found = hostile_app
    page = browser.new_context().new_page()
    go(page, address(served, found, "run_done"))
    title = page.get_by_role("heading", level=1).inner_text()
    assert title.replace("\u2060", "") == SHORT
    page.context.close()

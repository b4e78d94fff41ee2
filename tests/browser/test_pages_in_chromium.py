"""Every page in a real browser: both themes, no finding of axe's that is ours, deep links, the keyboard."""

import pytest

from tests.browser.look import axe_findings, go, picture, point_of, settle, until
from ui.shared.pages import PAGES

pytestmark = pytest.mark.browser
VISITS = {page.key: page.address for page in PAGES} | {
    "experiment": "experiment?clone=6", "run": "run?id=3", "run_failed": "run?id=8", "compare": "compare?side=3,4",
    "method": "methods?method=prune.magnitude", "upload": "models?add=upload"}


@pytest.fixture(params=["light", "dark"])
def page(browser, request):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=request.param)
    opened = context.new_page()
    opened.theme = request.param
    yield opened
    context.close()


@pytest.mark.parametrize("name", VISITS)
def test_a_page_opens_by_its_address_and_axe_finds_nothing_of_ours(filled_app, page, name):
    go(page, f"{filled_app.url}/{VISITS[name]}")
    page.wait_for_timeout(600)
    assert page.get_by_test_id("stException").count() == 0
    picture(page, f"{name}-{page.theme}")
    assert axe_findings(page) == []


def test_plot_and_verdict_of_compare_are_seen_without_scrolling(filled_app, page):
    go(page, f"{filled_app.url}/compare")
    plot = page.get_by_test_id("stPlotlyChart").bounding_box()
    verdict = page.get_by_text("Recommended").first.bounding_box()
    assert verdict["y"] > 0 and plot["y"] + plot["height"] <= 900


def test_a_click_on_a_point_picks_the_run_and_the_link_opens_it(filled_app, page):
    go(page, f"{filled_app.url}/compare")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    page.mouse.click(*point_of(page, 6))
    link = page.get_by_role("link", name="Open run 6")
    link.wait_for(timeout=10_000)
    settle(page)
    until(page, "location.search.includes('pick=6')")
    link.click()
    page.get_by_text("student 0.5 + int8 dense: 4.8× smaller").wait_for(timeout=15_000)
    until(page, "location.pathname.endsWith('/run') && location.search.includes('id=6')")


def test_the_address_of_compare_opens_the_same_picture_elsewhere_and_back_works(filled_app, page, browser):
    go(page, f"{filled_app.url}/compare")
    page.get_by_text("log ↕").click()
    settle(page)
    until(page, "location.search.includes('logy=1')")
    other = browser.new_context().new_page()
    go(other, page.url)
    until(other, "document.querySelector('.js-plotly-plot')?._fullLayout?.yaxis?.type === 'log'")
    other.context.close()
    page.go_back()
    settle(page)
    until(page, "document.querySelector('.js-plotly-plot')?._fullLayout?.yaxis?.type === 'linear'")


def test_a_slider_moves_by_the_keyboard_and_the_size_follows(filled_app, page):
    go(page, f"{filled_app.url}/experiment?clone=5")
    size = page.get_by_test_id("stMetricValue").first
    before = size.inner_text()
    slider = page.get_by_role("slider").first
    slider.focus()
    for _ in range(5):
        slider.press("ArrowRight")
    until(page, "before => document.querySelector('[data-testid=stMetricValue]').innerText !== before",
                           arg=before)

"""Compare, Runs and Experiment in a real browser: what is ticked, pinned, limited and linked is what is shown."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from compression.spec.records import Step
from storage.access import LOCAL_ACCESS
from storage.store import open_store
from tests.browser.look import choose, go, settle, until

pytestmark = pytest.mark.browser
SLOW = (Step(method="embed.quantize_rows", params={"n_bits": 2}), Step(method="quantize.static"))
HEADING, ROW, TICK_X = 35, 35, 16  # pixels of a table: its heading, a row, the middle of the boxes


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The app over a home whose smallest run is slower at every batch size, and two saved comparisons."""
    from tests.browser.conftest import serve
    from tests.ui import filled

    home = tmp_path_factory.mktemp("compare")
    before = dict(filled.RECIPES)
    filled.RECIPES["small and slow"] = (SLOW, 0.05, 0.0, 1.4)
    try:
        ids = filled.filled_home(home, active=False)
    finally:
        filled.RECIPES.clear()
        filled.RECIPES.update(before)
    store = open_store(LOCAL_ACCESS, url=f"sqlite:///{home / 'recpress.db'}", root=home)
    store.save_comparison("Spring", [ids["int8"], ids["student"]])
    store.close()
    for app in serve(home):
        yield app, ids


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()


def tick(page: Page, row: int) -> None:
    """Click the box of the row at this place, as it stands on the screen now."""
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    page.mouse.click(box["x"] + TICK_X, box["y"] + HEADING + ROW * row + ROW / 2)
    settle(page)


def first_column(page: Page) -> list[str]:
    """The cells of the first column from top to bottom, sorted as shown, as the grid tells screen readers."""
    cells = page.get_by_test_id("stDataFrame").first.locator("tbody tr td[aria-colindex='1']")
    cells.first.wait_for(state="attached")
    return [cell.strip() for cell in cells.all_inner_texts()]


def recommended(page: Page) -> str:
    return page.locator("p", has_text="Recommended").first.inner_text()


def side(page: Page) -> list[int]:
    """The ids that the address says are ticked."""
    found = re.search(r"[?&]side=([\d%C,]+)", page.url)
    return [int(part) for part in found.group(1).replace("%2C", ",").split(",")] if found else []


def sort_by_name(page: Page) -> None:
    """Click the heading of the first column of Compare's table."""
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    page.mouse.click(box["x"] + 120, box["y"] + HEADING / 2)
    settle(page)


def test_ticks_choose_the_rows_they_stand_in_after_sorting(served, page):
    app, _ = served
    by_name = {job.name: job.id for job in open_store(LOCAL_ACCESS, root=app.home)
               .jobs(kinds=["run"], per_page=50).items}
    go(page, f"{app.url}/compare")
    wanted = []
    for row in (5, 1, 3):
        wanted.append(by_name[first_column(page)[row]])
        tick(page, row)
        assert sorted(side(page)) == sorted(wanted)
    sort_by_name(page)
    assert first_column(page) == sorted(first_column(page))
    for row in (0, 6):
        run = by_name[first_column(page)[row]]
        tick(page, row)
        wanted = [one for one in wanted if one != run] if run in wanted else [*wanted, run]
        assert sorted(side(page)) == sorted(wanted)
    for run in side(page)[:4]:
        expect(page.get_by_role("button", name=f"Clone #{run}")).to_be_visible()


def test_ticked_runs_are_those_side_by_side_and_untick_all_clears_them(served, page):
    app, ids = served
    go(page, f"{app.url}/compare?side={ids['int8']},{ids['student']}")
    for name in ("int8", "student"):
        expect(page.get_by_role("button", name=f"Clone #{ids[name]}")).to_be_visible()
    page.get_by_role("button", name="Untick all").click()
    settle(page)
    expect(page.get_by_text("Tick two to four runs")).to_be_visible()
    assert side(page) == []


def test_a_pinned_run_changes_the_table_at_once_and_its_headings_say_so(served, page):
    app, ids = served
    go(page, f"{app.url}/compare")
    choose(page, "Differences are to", f"#{ids['int8']} int8 rows")
    table = page.get_by_test_id("stDataFrame").first
    expect(table.locator("thead th", has_text=f"Δ AUC to #{ids['int8']}")).to_have_count(1)
    row = table.locator("tbody tr").nth(first_column(page).index("int8 rows"))
    assert row.locator("td").all_inner_texts()[1:3] == ["0", "1"]  # AUC differs by 0, the size is 1 times its own


def test_limits_of_zero_and_below_are_kept_or_refused_at_once_and_never_break_the_page(served, page):
    app, _ = served
    go(page, f"{app.url}/compare")
    label = page.get_by_role("button", name="Limits:")
    label.click()
    field = page.get_by_label("Milliseconds, at most").first
    for typed, words, kept in (("2", "Recommended", "within 2 ms"), ("0", "are too slow", "within 0 ms"),
                               ("-3", "are too slow", "within 0 ms")):
        field.fill(typed)
        field.press("Enter")
        settle(page)
        assert page.get_by_test_id("stException").count() == 0
        expect(page.get_by_text(words).first).to_be_visible()
        expect(label).to_contain_text(kept)


def test_a_link_opens_the_same_picture_in_another_browser(served, page, browser):
    app, ids = served
    go(page, f"{app.url}/compare?side={ids['int8']},{ids['student']}&pin={ids['int8 all']}&slower=1&ms=4&logy=1"
             f"&y=logloss&pick={ids['rare']}&goal=latency")
    told = recommended(page)
    other = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    go(other, page.url)
    assert other.url == page.url and recommended(other) == told
    assert first_column(other) == first_column(page)
    for name in ("int8", "student"):
        expect(other.get_by_role("button", name=f"Clone #{ids[name]}")).to_be_visible()
    expect(other.get_by_role("link", name=f"Open run {ids['rare']}")).to_be_visible()
    other.context.close()


def test_the_headline_names_the_slower_batch_sizes_and_no_page_recommends_that_run(served, page):
    app, ids = served
    go(page, app.url)
    home = recommended(page)
    go(page, f"{app.url}/compare")
    assert recommended(page) == home
    assert "1 run is left out: slower" in home
    go(page, f"{app.url}/run?id={ids['small and slow']}")
    expect(page.get_by_text("20.0× smaller, 40 % slower at batch 512 and 40 % slower at batch 1")).to_be_visible()


def test_ticks_of_the_runs_page_are_of_the_jobs_they_stand_in_though_a_new_job_moves_the_rows(served, page):
    app, ids = served
    go(page, f"{app.url}/runs")
    wanted = [int(first_column(page)[2])]
    tick(page, 2)
    store = open_store(LOCAL_ACCESS, root=app.home)
    spec = store.job(ids["rare"]).spec
    store.submit(spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"seed": 99})}))
    wanted.append(int(first_column(page)[4]))
    tick(page, 4)
    page.wait_for_timeout(2500)  # the new job has moved every row by one
    settle(page)
    page.locator(".st-key-runs_actions").get_by_role("button", name="Compare selected").click()
    page.wait_for_url("**/compare?**")
    assert f"runs={'%2C'.join(map(str, wanted))}" in page.url.replace(",", "%2C")


def test_a_saved_comparison_goes_after_a_second_click(served, page):
    app, _ = served
    go(page, f"{app.url}/compare")
    page.get_by_role("button", name="Save or open").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete for good").click()
    settle(page)
    store = open_store(LOCAL_ACCESS, root=app.home)
    assert store.comparisons() == []


def test_edits_of_a_recipe_live_through_a_reload_and_back_undoes_them(served, page):
    app, ids = served
    go(page, f"{app.url}/experiment?clone={ids['rare']}")
    until(page, "location.search.includes('recipe=')")
    slider = page.get_by_role("slider").first
    start = slider.input_value()
    before = page.url
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")
    until(page, "old => location.href !== old", arg=before)
    page.wait_for_timeout(800)
    settle(page)
    moved = page.get_by_role("slider").first.input_value()
    assert moved != start
    page.reload()
    settle(page)
    assert page.get_by_role("slider").first.input_value() == moved
    page.go_back()
    settle(page)
    assert page.get_by_role("slider").first.input_value() != moved


def test_the_limits_show_what_they_are_when_opened_late_and_an_emptied_one_is_no_limit(served, page):
    app, _ = served
    go(page, f"{app.url}/compare?loss=0.002")
    choose(page, "Across", "Latency p50, batch 1")  # a rerun before the popover is opened
    label = page.get_by_role("button", name="Limits:")
    label.click()
    loss = page.get_by_role("spinbutton", name="AUC lost, at most")
    expect(loss).to_have_value("0.0020")
    expect(page.get_by_role("radio", name="smallest")).to_be_checked()
    size = page.get_by_role("spinbutton", name="MB on disk, at most")
    size.fill("0.5")
    size.press("Enter")
    settle(page)
    expect(label).to_contain_text("lose at most 0.002 AUC and weigh at most 500 kB")
    assert "loss=0.002" in page.url and "at=" not in page.url
    for field in (loss, size):
        field.fill("")
        field.press("Enter")
        settle(page)
    expect(label).to_contain_text("Limits: none")
    assert "loss=none" in page.url and "mb=" not in page.url


@pytest.mark.parametrize("address", [
    "compare?project={project}&side={int8},{student}&y=logloss&logx=0&loss=0.002&ms=4.0&slower=1&goal=latency&pin={rare}",
    "runs?state=done&q=int8"])
def test_back_from_another_page_opens_the_same_picture(served, page, address):
    app, ids = served
    project = open_store(LOCAL_ACCESS, root=app.home).job(ids["int8"]).project
    go(page, f"{app.url}/{address.format(project=project, **ids)}")
    address, rows = page.url, first_column(page)
    page.get_by_role("link", name="Settings").first.click()
    expect(page.get_by_role("heading", name="Storage")).to_be_visible()
    settle(page)
    page.go_back()
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    settle(page)
    assert page.url == address and first_column(page) == rows


@pytest.mark.parametrize("back", [True, False])
def test_experiment_is_as_it_was_after_a_look_at_another_page(served, page, back):
    app, ids = served
    go(page, f"{app.url}/experiment?clone={ids['rare']}")
    until(page, "location.search.includes('recipe=')")
    seed, name = page.get_by_role("spinbutton", name="Seed"), page.get_by_role("textbox", name="Name")
    for field, text in ((seed, "7"), (name, "rows seed 7")):
        field.fill(text)
        field.press("Enter")
        settle(page)
    target = page.get_by_role("button", name="Target:")
    target.click()
    threads = page.get_by_role("spinbutton", name="Threads")
    threads.fill("3")
    threads.press("Enter")
    settle(page)
    page.keyboard.press("Escape")
    address = page.url
    page.get_by_role("link", name="Settings").first.click()
    expect(page.get_by_role("heading", name="Storage")).to_be_visible()
    settle(page)
    if back:
        page.go_back()
    else:
        page.get_by_role("link", name="Experiment").first.click()
    expect(target).to_contain_text("3 threads")
    settle(page)
    assert (seed.input_value(), name.input_value()) == ("7", "rows seed 7")
    assert parse_qs(urlsplit(page.url).query) == parse_qs(urlsplit(address).query)

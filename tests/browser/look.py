"""What the browser tests do with a page: wait, click a run's point, take a picture, ask axe."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import Page, TimeoutError

PICTURES = Path(__file__).parents[2] / "test-results"
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
# Streamlit's own markup, which the app can't change: (rule, a part of the element's HTML)
STREAMLITS_OWN = (
    ("aria-allowed-role", "stFileUploaderDropzone"),
    ("list", "stSidebarNavItems"),
    ("color-contrast", "react-syntax-highlighter-line-number"),
    ("color-contrast", "class=\"token"),  # colours of st.code
)


def settle(page: Page, *, seconds: float = 60) -> None:
    """Wait until the script has run and the page has stopped changing for a moment."""
    page.wait_for_selector(IDLE, timeout=seconds * 1000)
    page.wait_for_timeout(400)
    page.wait_for_selector(IDLE, timeout=seconds * 1000)


def go(page: Page, address: str) -> None:
    page.goto(address, wait_until="domcontentloaded")
    settle(page)


def choose(page: Page, label: str, option: str) -> None:
    """Pick an option of a select box by the words it shows. A rerun under way closes the list, so it is reopened."""
    box = page.get_by_role("combobox", name=label, exact=True)
    found = page.get_by_role("option").filter(has_text=option).first
    for _ in range(5):
        settle(page)
        box.click()
        box.fill(option)
        try:
            found.click(timeout=4000)
        except TimeoutError:
            continue
        settle(page)
        return
    raise AssertionError(f"{label} offers no {option!r}")


def point_of(page: Page, job_id: int) -> tuple[float, float]:
    """Where the marker of a run is on the screen. Raises if the plot doesn't show it."""
    found = page.evaluate("""(job) => {
        const plot = document.querySelector('.js-plotly-plot');
        const {xaxis, yaxis} = plot._fullLayout;
        const box = plot.getBoundingClientRect();
        for (const trace of plot.data) {
            const rows = trace.customdata || [];
            for (let i = 0; i < rows.length; i++) {
                if (rows[i][0] === job) {
                    const x = xaxis._offset + xaxis.d2p(trace.x[i]), y = yaxis._offset + yaxis.d2p(trace.y[i]);
                    return [box.left + x, box.top + y];
                }
            }
        }
        return null;
    }""", job_id)
    assert found, f"run {job_id} is not in the plot"
    return found[0], found[1]


def picture(page: Page, name: str) -> None:
    """The visible page at 1440 × 900 as test-results/NAME.png."""
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=str(PICTURES / f"{name}.png"))


def axe_findings(page: Page) -> list[str]:
    """What axe finds on the page, without what is Streamlit's own; one line for each element."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    for violation in Axe().run(page).response["violations"]:
        for node in violation["nodes"]:
            own = any(violation["id"] == rule and part in node["html"] for rule, part in STREAMLITS_OWN)
            if not own:
                found.append(f"{violation['id']} ({violation['impact']}): {node['target']} {node['html'][:200]}")
    return found


def until(page, expression: str, *, arg=None, timeout_s: float = 30.0) -> None:
    """Wait until an expression is true in the page.

    Playwright's own wait_for_function evaluates text inside the page from its second look on, which the app's content
    security policy forbids.
    """
    end = time.monotonic() + timeout_s
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"{expression} did not become true within {timeout_s:.0f} s"
        page.wait_for_timeout(100)

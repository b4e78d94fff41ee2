"""Every page of the app: a page is its file in pages/ and its line here.

Navigation, links, window titles and the lists that tests walk all read it, in this order.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A page: `key` is its place in the address, `icon` stands in the browser's tab beside its title."""

    key: str
    path: str
    title: str
    icon: str = "static/icon.svg"
    hidden: bool = False  # not in the navigation: reached from a list, a plot or a link

    @property
    def address(self) -> str:
        """Its path below the app's; the first page answers at the app's own."""
        return "" if self is PAGES[0] else self.key


PAGES = (
    Page("home", "pages/home.py", "Home"),
    Page("models", "pages/models.py", "Models"),
    Page("datasets", "pages/datasets.py", "Datasets"),
    Page("experiment", "pages/experiment.py", "Experiment"),
    Page("runs", "pages/runs.py", "Runs"),
    Page("run", "pages/run.py", "Run", hidden=True),
    Page("compare", "pages/compare.py", "Compare"),
    Page("methods", "pages/methods.py", "Methods"),
    Page("settings", "pages/settings.py", "Settings"),
)
PAGE_OF = {page.key: page for page in PAGES}

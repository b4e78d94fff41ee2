"""Opening a page of the app headless, as the router serves it."""

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from ui.shared.pages import PAGE_OF

ROOT = Path(__file__).parents[2]


def open_page(page: str, /, **query: Any) -> AppTest:
    """A page at its address; RECPRESS_HOME decides which store it reads."""
    app = AppTest.from_file(str(ROOT / "router.py"), default_timeout=30)
    app.switch_page(PAGE_OF[page].path)
    for key, value in query.items():
        app.query_params[key] = str(value)
    return app.run()


def texts(app: AppTest) -> str:
    """Everything a page says, for asserting that it says something."""
    kinds = (app.title, app.header, app.subheader, app.markdown, app.caption, app.error, app.warning, app.info)
    told = [element.value for kind in kinds for element in kind]
    return "\n".join(told).replace("\\", "")

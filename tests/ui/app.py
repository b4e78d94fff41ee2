"""Opening a page of the app headless, as the router serves it."""

import time
from pathlib import Path
from typing import Any

from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

from storage.store import Store
from ui.server.uploads import Uploads
from ui.shared.pages import PAGE_OF

ROOT = Path(__file__).parents[2]


class Navigated(PagesManager):
    """router.py alone decides on pages, as app.py has it: AppTest would take the folder pages for Streamlit's own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        PagesManager.uses_pages_directory = False


app_test.PagesManager = Navigated  # type: ignore[attr-defined]

def open_page(page: str, /, **query: Any) -> AppTest:
    """A page at its address; RECPRESS_HOME decides which store it reads."""
    app = AppTest.from_file(str(ROOT / "router.py"), default_timeout=30)
    app.switch_page(PAGE_OF[page].path)
    for key, value in query.items():
        app.query_params[key] = str(value)
    return app.run()


def settled(app: AppTest, *, timeout_s: float = 120.0) -> AppTest:
    """The page once what it follows has ended: as a browser does it, it is drawn again while progress is shown."""
    end = time.monotonic() + timeout_s
    while app.get("progress"):
        assert time.monotonic() < end, "the page still shows progress"
        time.sleep(0.05)
        app = app.run()
    return app


def texts(app: AppTest) -> str:
    """Everything a page says, for asserting that it says something."""
    kinds = (app.title, app.header, app.subheader, app.markdown, app.caption, app.error, app.warning, app.info)
    told = [element.value for kind in kinds for element in kind]
    return "\n".join(told).replace("\\", "")


def press(app: AppTest, label: str) -> AppTest:
    """The page after its button of this label was pressed."""
    return next(button for button in app.button if button.label == label).click().run()


def uploaded(store: Store, name: str, data: bytes, kind: str) -> dict[str, str]:
    """A finished upload, as the widget reports it."""
    uploads = Uploads(store.home / "uploads", store.files)
    upload = uploads.create(name, len(data), kind=kind, owner="local")
    uploads.append(upload, 0, data)
    uploads.finish(upload.id, owner="local")
    return {"id": upload.id, "name": name}


def upload_page(store, page: str, files: list[dict[str, str]], **query: Any) -> AppTest:
    """The page that adds something, once it has looked at these files."""
    app = open_page(page, add="upload", **query)
    app.session_state[f"{page}.upload"] = {"files": files}
    return settled(app.run())

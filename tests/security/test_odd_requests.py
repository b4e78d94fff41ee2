"""Odd input is answered with a sentence: every parameter of every page, and every field of the routes."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.applications import Starlette

from storage.access import LOCAL_ACCESS
from storage.store import open_store
from tests.security.odd_values import BESIDE, ODD, PARAMETERS
from tests.ui.app import open_page
from tests.ui.filled import filled_home
from tests.ui.server.live_server import Client, served
from tests.ui.server.test_upload_route import begin, session_token
from ui.server.routes import TOKEN_HEADER, make_routes
from ui.server.tokens import home_secret, sign

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    filled_home(folder, active=False)
    return folder


@pytest.fixture
def pages(home, monkeypatch) -> None:
    monkeypatch.setenv("RECPRESS_HOME", str(home))
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture(scope="module")
def client(home):
    store = open_store(LOCAL_ACCESS, url=f"sqlite:///{home / 'recpress.db'}", root=home)
    with served(Starlette(routes=make_routes(lambda: store))) as port:
        yield Client(port, {TOKEN_HEADER: session_token(store)})
    store.close()


@pytest.mark.parametrize(("page", "parameter"), [(page, name) for page, names in PARAMETERS.items() for name in names])
def test_a_page_opens_whatever_its_address_says(pages, page, parameter):
    wrong = {}
    for what, value in ODD.items():
        app = open_page(page, **BESIDE.get((page, parameter), {}), **{parameter: value})
        if app.exception:
            wrong[what] = app.exception[0].message
    assert not wrong


@pytest.mark.parametrize("value", ["9" * 40, str(2**63), "-1"])
def test_a_run_that_no_database_can_hold_is_not_here(pages, value):
    app = open_page("run", id=value)
    assert app.header[0].value == "This run is not here"
    assert "There is no job" in app.markdown[-1].value


def test_every_parameter_that_a_page_reads_is_tried():
    read = set()
    for path in [*(ROOT / "ui").rglob("*.py"), *(ROOT / "pages").glob("*.py")]:
        read |= set(re.findall(r'query_(?:text|int|list)\("(\w+)"', path.read_text(encoding="utf-8")))
    assert read and read <= {name for names in PARAMETERS.values() for name in names}


SIZES = {"10**400": "1" + "0" * 400, "10**900": "1" + "0" * 900, "10**2000": "1" + "0" * 2000, "2**64": str(2**64),
         "-10**400": "-1" + "0" * 400, "1e308": "1e308", "true": "true", "null": "null", "text": '"1"', "a list": "[1]",
         "an object": "{}", "a half": "0.5"}


@pytest.mark.parametrize(("what", "size"), SIZES.items(), ids=SIZES)
def test_a_size_that_is_none_is_refused(client, what, size):
    answer = client.post("/api/uploads", content=b'{"name": "a.csv", "kind": "data", "size": %s}' % size.encode())
    assert answer.status_code == {"10**400": 413, "10**900": 413, "2**64": 413, "10**2000": 400}.get(what, 422)
    assert answer.json()["error"]


BODIES = {
    "deep": b"[" * 4000, "deep objects": b'{"a":' * 800, "NaN": b'{"name": "a.csv", "kind": "data", "size": NaN}',
    "infinity": b'{"name": "a.csv", "kind": "data", "size": 1e999}',
    "surrogate": b'{"name": "\\ud800.csv", "kind": "data", "size": 1}', "not UTF-8": b"\xff\xfe{}", "number": b"1",
    "text": b'"name"', "list": b"[1, 2, 3]", "null": b"null", "digits": b"9" * 4096,
    "a list as kind": b'{"name": "a.csv", "kind": ["data"], "size": 1}',
    "an object as kind": b'{"name": "a.csv", "kind": {}, "size": 1}',
    "a number as name": b'{"name": 1, "kind": "data", "size": 1}',
    "a list as name": b'{"name": [], "kind": "data", "size": 1}',
    "NUL": b'{"name": "a\\u0000.csv", "kind": "data", "size": 1}',
    "newline": b'{"name": "a.csv\\n", "kind": "data", "size": 1}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_beginning_of_odd_json_is_refused(client, body):
    answer = client.post("/api/uploads", content=body)
    assert answer.status_code in (400, 422) and answer.json()["error"]


@pytest.mark.parametrize("offset", ["9" * 40, "9" * 5000, "-1", "+1", "1.0", "1e3", "0x1", "\xb2", " ", "1 1", "NaN"])
def test_an_odd_offset_is_refused(client, offset):
    upload = begin(client)
    headers = {"Upload-Offset": offset}
    answer = client.patch(f"/api/uploads/{upload}", content=b"x", headers=headers)
    assert answer.status_code in (400, 409) and answer.json()["error"]


PLACES = ["9" * 40, "9" * 5000, "-1", "0", "1.5", "%00", "%ed%a0%80", "%ff", "..%2f..%2fsecret.key", "NaN", "[" * 500,
          "%C2%B2"]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[:12])
@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/api/runs/{}/bundle.zip"), ("GET", "/api/runs/1/{}"), ("GET", "/api/models/{}/config.json"),
    ("GET", "/api/models/x/{}"), ("GET", "/api/datasets/{}/splits/train.csv"), ("GET", "/api/datasets/x/splits/{}.csv"),
    ("GET", "/api/datasets/x/{}"), ("GET", "/api/runs/1/bundle.zip?token={}"), ("HEAD", "/api/uploads/{}"),
    ("PATCH", "/api/uploads/{}"), ("DELETE", "/api/uploads/{}"), ("POST", "/api/uploads/{}/finish")])
def test_an_odd_place_is_not_found_or_not_allowed(client, method, path, place):
    assert client.request(method, path.format(place)).status_code in (400, 403, 404, 405)


@pytest.mark.parametrize("token", ["9" * 5000 + ".a.b", "\xff.\xff.\xff", "..", "9" * 40 + "." + "0" * 64, "-1.a.b"])
def test_an_odd_token_is_refused(client, token):
    assert client.post("/api/uploads", content=b"{}", headers={TOKEN_HEADER: token}).status_code == 401


def test_a_signed_link_to_a_number_that_is_none_says_so(client, home):
    for place in ("9" * 40, "9" * 5000, "²", "x"):
        path = f"/api/runs/{place}/bundle.zip"
        token = sign(home_secret(home), f"get {path}", now=time.time())
        answer = client.get(f"{quote(path)}?token={token}")
        assert answer.status_code == 404 and answer.json()["error"]



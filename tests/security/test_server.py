"""The real `streamlit run app.py`: whom it answers, what it gives back, how it ends, what it says when it can't."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from storage.access import LOCAL_ACCESS
from storage.store import open_store
from tests.browser.conftest import Served, serve
from tests.ui.filled import filled_home
from tests.ui.server.live_server import Client
from tests.ui.server.socket_session import drawn, exceptions, open_session
from tests.ui.server.test_upload_route import begin, session_token
from ui.server.routes import TOKEN_HEADER
from ui.shared.pages import PAGES

KEPT = ("content-security-policy", "x-content-type-options", "referrer-policy")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("served")
    filled_home(home, active=False)
    yield from serve(home)


@pytest.fixture
def own_server(tmp_path):
    yield from serve(tmp_path)


def port_of(served: Served) -> int:
    return int(served.url.rpartition(":")[2])


def asked(served: Served, path: str, host: str | None = "localhost", method: str = "GET", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(served), timeout=60)
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({} if host is None else {"Host": host} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.body = answer.read().decode(errors="replace")
    connection.close()
    return answer


PATHS = ["/", "/runs", "/api/ready", "/_stcore/health", "/_stcore/host-config", "/app/static/icon.svg", "/favicon.png",
         "/media/x", "/component/x/y", "/_stcore/upload_file/a/b", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8501", "localhost.evil.example",
                                  "127.0.0.1.evil.example", "10.0.0.1", "localhost@evil", "",
                                  None, "[::1", "local host", "localhost:80:80"])
def test_no_route_answers_to_a_strange_name(server, path, host):
    answer = asked(server, path, host)
    assert answer.status in (400, 403)
    assert "icon" not in answer.body and "<title>" not in answer.body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "localhost:8501", "127.0.0.1", "127.0.0.1:1",
                                  "[::1]", "[::1]:8501"])
def test_loopback_names_are_answered_on_every_route(server, host):
    assert [asked(server, path, host).status for path in ("/", "/api/ready", "/_stcore/health")] == [200] * 3


def test_the_socket_answers_to_loopback_names_and_its_own_pages_alone(server):
    port = port_of(server)
    with open_session(port) as session:
        assert not exceptions(drawn(session))
    for name, headers in (("evil.example", {}), ("evil.example", {"Origin": f"http://evil.example:{port}"}),
                          ("localhost", {"Origin": "http://localhost:3000"}), ("localhost", {"Origin": "null"}),
                          ("localhost", {"Origin": "http://evil.example"}), ("localhost", {"Origin": "file://"}),
                          ("localhost", {"Sec-Fetch-Site": "cross-site"})):
        with pytest.raises(InvalidStatus) as refused, open_session(port, name=name, additional_headers=headers):
            pass
        assert refused.value.response.status_code == 403, headers
    with open_session(port, origin=f"http://127.0.0.1:{port}") as session:
        assert drawn(session)


@pytest.mark.parametrize("path", ["metrics", "metrics/", "agent/openapi.json", "agent/interact", "agent/mcp",
                                  "script-health-check", "", "other"])
def test_routes_of_streamlit_that_tell_more_than_a_page_needs_are_closed(server, path):
    assert asked(server, f"/_stcore/{path}").status == 404
    assert asked(server, f"/_stcore/{path}", method="POST").status in (404, 405)


@pytest.mark.parametrize("path", [*PATHS, "/static/nothing.js", "/_stcore/metrics", "/api/runs/1/bundle.zip"])
def test_every_answer_says_what_a_page_may_load_and_that_nobody_may_frame_it(server, path):
    for host in ("localhost", "evil.example"):
        headers = asked(server, path, host).headers
        assert not [name for name in KEPT if headers.get(name) is None]
        policy = dict(one.strip().split(" ", 1) for one in headers["content-security-policy"].split(";"))
        assert policy["frame-ancestors"] == policy["object-src"] == policy["frame-src"] == "'none'"
        assert policy["default-src"] == "'self'" and policy["img-src"] == "'self' data: blob:"
        assert "unsafe" not in policy["script-src"]
        assert not [source for sources in policy.values() for source in sources.split()
                    if source.startswith(("http", "ws", "*"))]
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"


def test_ended_sessions_give_their_file_descriptors_back(server):
    def count() -> int:
        return len(os.listdir(f"/proc/{server.pid}/fd"))

    def visit(number: int) -> None:
        with open_session(port_of(server), ["", "models", "compare", "runs", "experiment"][number % 5]) as session:
            assert not exceptions(drawn(session))

    visit(0)
    before = count()
    for number in range(50):
        visit(number)
    end = time.monotonic() + 60
    while count() > before + 6 and time.monotonic() < end:
        time.sleep(0.2)
    assert count() <= before + 6


def test_first_visits_at_the_same_moment_all_see_their_page(tmp_path):
    filled_home(tmp_path, active=False)
    pages = [page.address for page in PAGES] * 2

    def visit(port: int, page: str) -> list[str]:
        with open_session(port, page) as session:
            return exceptions(drawn(session, timeout=120))

    for served in serve(tmp_path, until="/_stcore/health"):
        with ThreadPoolExecutor(len(pages)) as visitors:
            assert list(visitors.map(visit, [port_of(served)] * len(pages), pages)) == [[]] * len(pages)


def test_a_signal_ends_the_app_although_requests_are_half_sent_and_sessions_are_open(own_server):
    port, store = port_of(own_server), open_store(LOCAL_ACCESS, root=own_server.home)
    headers = {TOKEN_HEADER: session_token(store)}
    client = Client(port, headers)
    upload = begin(client, size=1000)
    token = f"{TOKEN_HEADER}: {headers[TOKEN_HEADER]}\r\n"
    started = [f"PATCH /api/uploads/{upload} HTTP/1.1\r\nHost: localhost\r\n{token}Upload-Offset: 0\r\n"
               "Content-Length: 1000\r\n\r\n1234",
               f"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\n{token}Content-Length: 99\r\n\r\n{{",
               "GET / HTTP/1.1\r\nHost: loc",
               "PUT /_stcore/upload_file/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"]
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in started]
    for one, text in zip(opened, started, strict=True):
        one.sendall(text.encode())
    with open_session(port) as session:
        drawn(session)
        start = time.monotonic()
        own_server.process.send_signal(signal.SIGTERM)
        own_server.process.wait(60)
    assert time.monotonic() - start < 10  # the promise itself, not a measure of speed
    for one in opened:
        one.close()
    store.close()


@pytest.mark.parametrize("harm", ["deleted", "damaged", "emptied", "its folder deleted"])
def test_an_app_without_its_database_is_not_ready_and_says_why(own_server, harm):
    assert asked(own_server, "/api/ready").status == 200
    database = own_server.home / "recpress.db"
    if harm == "its folder deleted":
        shutil.rmtree(own_server.home, ignore_errors=True)
    elif harm == "deleted":
        for file in own_server.home.glob("recpress.db*"):
            file.unlink()
    else:
        for file in own_server.home.glob("recpress.db-*"):
            file.unlink()
        database.write_bytes(b"" if harm == "emptied" else b"no database at all" * 400)
    answer = asked(own_server, "/api/ready")
    assert answer.status == 503
    assert "atabase" in answer.body


def test_an_open_app_answers_by_its_address_and_says_on_every_page_that_it_is_open(tmp_path):
    for served in serve(tmp_path, options=("--server.address", "0.0.0.0"), RECPRESS_ALLOWED_HOSTS="recpress.example"):
        assert [asked(served, "/api/ready", host).status for host in (
            "localhost", "10.1.2.3:8501", "recpress.example", "evil.example")] == [200, 200, 200, 403]
        for page in PAGES:
            with open_session(port_of(served), page.address) as session:
                said = [message.delta.new_element.alert.body for message in drawn(session)]
            assert len([text for text in said if "listens beyond this machine" in text]) == 1, page.key


def test_the_app_listens_at_loopback_unless_told_otherwise():


    settings = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())
    assert settings["server"]["address"] == "127.0.0.1"

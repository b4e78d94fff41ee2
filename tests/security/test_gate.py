"""Which names the app answers to, by where it listens and what the setting adds; and the banner of an open app."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import HTTPConnection
from streamlit import config
from streamlit.testing.v1 import AppTest

from ui.server.gate import HOSTS_VARIABLE, extra_hosts, host_name, is_allowed, is_loopback, listens_at, refusal

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("host", "name"), [
    ("localhost", "localhost"), ("LocalHost:8501", "localhost"), ("localhost.", "localhost"), ("[::1]:8501", "::1"),
    ("127.0.0.1:1", "127.0.0.1"), ("a-b_c.example", "a-b_c.example"), ("", None), ("a b", None), ("a@b", None),
    ("a/b", None), ("[::1", None), ("a:b", None), ("a:123456", None), ("::1", None), ("a\r\nb", None), ("é", None)])
def test_a_host_header_is_a_name_or_nothing(host, name):
    assert host_name(host) == name


@pytest.mark.parametrize(("name", "address", "extra", "answered"), [
    ("localhost", "127.0.0.1", "", True), ("127.0.0.1", "127.0.0.1", "", True), ("::1", "127.0.0.1", "", True),
    ("127.8.0.1", "127.0.0.1", "", True), ("10.0.0.5", "127.0.0.1", "", False), ("me.example", "127.0.0.1", "", False),
    ("localhost", "0.0.0.0", "", True), ("10.0.0.5", "0.0.0.0", "", True), ("2001:db8::1", "0.0.0.0", "", True),
    ("me.example", "0.0.0.0", "", False), ("me.example", "0.0.0.0", "me.example", True),
    ("me.example", "me.example", "", True), ("10.0.0.5", "10.0.0.5", "", True),
    ("a.me.example", "127.0.0.1", "*.me.example", True), ("me.example", "127.0.0.1", "*.me.example", False),
    ("evilme.example", "127.0.0.1", "*.me.example, me.example", False),
    ("b.example", "127.0.0.1", " B.example. ,c", True),
    ("evil.example", "127.0.0.1", "*", False), ("localhost.evil.example", "127.0.0.1", "", False)])
def test_a_name_is_answered_only_if_it_is_known(monkeypatch, name, address, extra, answered):
    monkeypatch.setenv(HOSTS_VARIABLE, extra)
    assert is_allowed(name, address, extra_hosts()) is answered


@pytest.mark.parametrize(("address", "closed"), [("127.0.0.1", True), ("localhost", True), ("::1", True),
                                                 ("0.0.0.0", False), ("::", False), ("10.0.0.5", False), ("", False),
                                                 (None, False), ("me.example", False)])
def test_the_app_says_so_while_the_app_listens_beyond_this_machine(monkeypatch, tmp_path, address, closed):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    as_before = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: address if key == "server.address" else as_before(key))
    assert is_loopback(listens_at()) is closed
    page = AppTest.from_file(str(ROOT / "router.py"), default_timeout=60).run()
    assert len([one for one in page.warning if "listens beyond this machine" in one.value]) == (0 if closed else 1)


@pytest.mark.parametrize(("hosts", "answered"), [
    (["localhost"], True), (["evil.example"], False), ([], False), (["localhost", "evil.example"], False),
    (["localhost", "localhost"], False)])
def test_a_request_has_one_host_and_it_is_known(monkeypatch, hosts, answered):
    monkeypatch.delenv(HOSTS_VARIABLE, raising=False)
    headers = [(b"host", host.encode()) for host in hosts]
    found = refusal(HTTPConnection({"type": "http", "path": "/", "headers": headers}))
    assert (found is None) is answered and (answered or found[1] == 403)

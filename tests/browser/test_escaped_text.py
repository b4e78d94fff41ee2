"""`escaped` as Streamlit's own markdown in a real browser reads it: every text is shown as it was written."""

import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.browser.conftest import ROOT
from tests.browser.look import go
from tests.ui.test_hostile_text import TEXTS
from ui.shared.escape import APART

pytestmark = pytest.mark.browser
SCRIPT = """
import streamlit as st
from tests.ui.test_hostile_text import TEXTS
from ui.shared.escape import escaped
for index, text in enumerate(TEXTS):
    st.container(key=f"one{index}").markdown(escaped(text))
    st.container(key=f"in{index}").markdown(f"**{escaped(text)}** :gray[{escaped(text)}]")
    st.container(key=f"button{index}").button(escaped(text) or "-", key=index)
"""


def test_escaped_text_is_shown_as_it_was_written(browser, tmp_path):
    (tmp_path / "shown.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "streamlit", "run", str(tmp_path / "shown.py"), "--server.port",
                               str(port)], cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health")
        page = browser.new_context().new_page()
        go(page, f"http://127.0.0.1:{port}")
        wrong = {}
        for index, text in enumerate(TEXTS):
            written = " ".join(re.sub("[\x00\u202e]", "", text).split())
            for place, expected in (("one", written), ("in", f"{written} {written}"), ("button", written)):
                found = page.locator(f".st-key-{place}{index}").inner_text().replace(APART, "")
                if " ".join(found.split()) != expected.strip():
                    wrong[place, text] = found
        made = page.locator("[class*='st-key-'] :is(a, img, code, h1, li, blockquote, hr, em, del, .katex)").count()
        assert not wrong and not made
    finally:
        server.terminate()
        server.wait(30)


def _wait(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer within a minute")

"""A large file goes through the app's own server without staying in its memory."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ui.server.live_server import Client
from ui.server.routes import TOKEN_HEADER, UPLOAD_PURPOSE
from ui.server.tokens import home_secret, sign

ROOT = Path(__file__).parents[3]
PIECE = 8 * 1024 * 1024  # what the browser sends


def anonymous_bytes(pid: int) -> int:
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024


@contextmanager
def running_app(home: Path) -> Iterator[tuple[int, int]]:
    """Port and pid of `streamlit run app.py` over a home folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.address",
               "127.0.0.1"]
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log,
                                  env={**os.environ, "RECPRESS_HOME": str(home)})
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/ready", timeout=5).read()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, (home / "server.log").read_text()
                time.sleep(0.2)
        yield port, server.pid
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize(("size", "most"), [
    (160_000_000, 80_000_000), pytest.param(2_000_000_000, 200_000_000, marks=pytest.mark.slow)])
def test_a_large_upload_stays_out_of_the_servers_memory(tmp_path, size, most):
    with running_app(tmp_path) as (port, pid):
        client = Client(port, {TOKEN_HEADER: sign(home_secret(tmp_path), UPLOAD_PURPOSE, now=time.time())})
        upload = client.post("/api/uploads", json={"name": "big.csv", "size": size, "kind": "data"}).json()["id"]
        before = peak = anonymous_bytes(pid)
        piece, offset = os.urandom(PIECE), 0
        while offset < size:
            answer = client.patch(f"/api/uploads/{upload}", content=piece[:size - offset],
                                  headers={"Upload-Offset": str(offset)})
            assert answer.status_code == 204, answer.text
            offset = int(answer.headers["Upload-Offset"])
            peak = max(peak, anonymous_bytes(pid))
        assert client.post(f"/api/uploads/{upload}/finish").json()["size"] == size
        peak = max(peak, anonymous_bytes(pid))
    print(f"{size / 1e6:.0f} MB: the server grew by {(peak - before) / 1e6:.1f} MB")
    assert peak - before < most

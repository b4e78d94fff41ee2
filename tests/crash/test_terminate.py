"""SIGTERM while everything is open: the app ends soon, its job goes back to the queue, and an upload can go on."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack

from websockets.sync.client import connect

from tests.crash.checks import check_done_once, steps_done
from tests.crash.served import App, wait_for
from ui.server.tokens import home_secret, sign

END_S = 10.0  # what a service manager, or a person, waits
SLACK = 2.0  # for a busy machine
SIZE, SENT = 4_000_000, 2_500_000  # a piece is written when it has a mebibyte
STEPS = 600


def test_sigterm_with_a_job_open_sessions_and_a_half_sent_upload(app, store, queue):
    app.start()
    wait_for(app.is_ready, "the app is ready")
    job_id = queue(f"steps {STEPS}")
    wait_for(lambda: steps_done(store, job_id) > 5, "the job runs")
    with ExitStack() as opened:
        for _ in range(3):
            opened.enter_context(connect(f"ws://127.0.0.1:{app.port}/_stcore/stream", subprotocols=["streamlit"]))
        upload = Upload(app, store)
        half_sent = opened.enter_context(upload.half_sent())
        wait_for(lambda: upload.offset() > 0, "a part of the upload is written")
        silent = opened.enter_context(socket.create_connection(("127.0.0.1", app.port)))
        silent.sendall(b"POST /api/uploads HTTP/1.1\r\n")  # a request that never ends
        app.terminate(END_S * SLACK)
        half_sent.close()
    wait_for(app.is_gone, "worker and job end with the app")
    assert store.job(job_id).state == "queued" and store.workers() == []
    store.database.close()

    app.start()
    wait_for(app.is_ready, "the app is ready again")
    kept = upload.offset()
    assert 0 < kept <= SENT
    upload.send(kept)
    wait_for(lambda: store.job(job_id).state == "done", "the job goes on")
    check_done_once(store, [job_id], STEPS)


class Upload:
    """An upload as the browser does it, with a token as a page would give it."""

    def __init__(self, app: App, store) -> None:
        self.app = app
        self.headers = {"X-RecPress-Token": sign(home_secret(store.home), "upload", now=time.time())}
        self.content = bytes(range(256)) * (SIZE // 256 + 1)
        status, _, body = app.ask("POST", "/api/uploads", headers=self.headers, body=json.dumps(
            {"name": "clicks.csv", "size": SIZE, "kind": "data"}).encode())
        assert status == 201, body
        answer = json.loads(body)
        self.path = f"/api/uploads/{answer['id']}"
        self.headers |= {"X-RecPress-Upload-Key": answer.get("key", "")}

    def offset(self) -> int:
        return int(self.app.ask("HEAD", self.path, headers=self.headers)[1]["Upload-Offset"])

    def half_sent(self) -> socket.socket:
        """A connection on which a part of a piece has been sent, and stays open."""
        connection = socket.create_connection(("127.0.0.1", self.app.port))
        headers = self.headers | {"Host": f"127.0.0.1:{self.app.port}", "Upload-Offset": "0", "Content-Length": SIZE}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"PATCH {self.path} HTTP/1.1\r\n{head}\r\n".encode())
        connection.sendall(self.content[:SENT])
        return connection

    def send(self, offset: int) -> None:
        """Send the rest and finish; the whole file is stored as it was."""
        headers = self.headers | {"Upload-Offset": str(offset)}
        status, _, body = self.app.ask("PATCH", self.path, headers=headers, body=self.content[offset:SIZE])
        assert status == 204, body
        status, _, body = self.app.ask("POST", f"{self.path}/finish", headers=self.headers)
        assert status == 200, body

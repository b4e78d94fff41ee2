"""The routes behind a real server in a thread, and a client of the standard library."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette


@dataclass
class Answer:
    status_code: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> dict:
        return json.loads(self.content)


class Client:
    """Requests to one port, each with the given headers."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self.port = port
        self.headers = headers

    def request(self, method: str, path: str, *, content: bytes | None = None, json: object = None,
                headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = content if json is None else _dumped(json)
        connection.request(method, path, body=body, headers={**self.headers, **(headers or {})})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
        return answer

    def get(self, path: str, **options) -> Answer:
        return self.request("GET", path, **options)

    def head(self, path: str, **options) -> Answer:
        return self.request("HEAD", path, **options)

    def post(self, path: str, **options) -> Answer:
        return self.request("POST", path, **options)

    def patch(self, path: str, **options) -> Answer:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options) -> Answer:
        return self.request("DELETE", path, **options)


@contextmanager
def served(app: Starlette) -> Iterator[int]:
    """The port of a server that runs the app until the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def _dumped(content: object) -> bytes:
    return json.dumps(content).encode()

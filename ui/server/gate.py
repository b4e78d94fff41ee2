"""What every request passes first, web sockets and Streamlit's own routes included: names, closed routes, headers.

    st.App("router.py", middleware=[Middleware(Gate)])

A site that points its own name at this machine (DNS rebinding) sends that name as Host, so only known names are
answered. The content security policy lets a page load from this server alone and be framed by nobody.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import re
from pathlib import Path

import streamlit
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

from ui.server.routes import is_foreign

HOSTS_VARIABLE = "RECPRESS_ALLOWED_HOSTS"
HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[0-9a-z_.-]+)(?::\d{1,5})?", re.IGNORECASE)
INTERNAL = "/_stcore/"
OPEN_ROUTES = ("stream", "health", "host-config")  # of Streamlit's own; metrics and the agent's routes stay closed
OPEN_FOLDERS = ("upload_file/", "bidi-components/")
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


class Gate:
    """The middleware that refuses requests for unknown names, from other sites to the socket, and for closed routes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.policy = content_policy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refused = refusal(connection)
        if refused is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self.policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers["Referrer-Policy"] = "same-origin"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
            await send(message)

        if refused is not None:
            sentence, status = refused
            await PlainTextResponse(sentence, status)(scope, receive, with_headers)
            return
        await self.app(scope, receive, with_headers)


def refusal(connection: HTTPConnection) -> tuple[str, int] | None:
    """Why a request is not answered, with the HTTP status; None where it is."""
    hosts = connection.headers.getlist("host")
    name = host_name(hosts[0]) if len(hosts) == 1 else None
    if name is None or not is_allowed(name, listens_at(), extra_hosts()):
        shown = (name or " ".join(hosts))[:80]
        return (f"RecPress does not answer to the name {shown!r}. Open it as http://localhost with its port, or add "
                f"the name to {HOSTS_VARIABLE} on the server.", 403)
    if connection.scope["type"] == "websocket" and is_foreign(connection):
        return "This request comes from another site and is refused.", 403
    _, internal, route = connection.scope["path"].partition(INTERNAL)
    if internal and route not in OPEN_ROUTES and not route.startswith(OPEN_FOLDERS):
        return "There is nothing at this address.", 404
    return None


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case, without port and brackets; None for what is none."""
    found = HOST.fullmatch(host)
    return found["name"].lower().strip("[]").removesuffix(".") if found else None


def is_allowed(name: str, address: str, extra: tuple[str, ...]) -> bool:
    """Whether the app answers to a name: loopback, the address it listens at, a name of the setting.

    An app that listens beyond loopback answers to every IP address: rebinding needs a name.
    """
    if is_loopback(name) or name == address:
        return True
    if not is_loopback(address) and _ip(name) is not None:
        return True
    return any(name == one or (one.startswith("*.") and name.endswith(one[1:])) for one in extra)


def extra_hosts() -> tuple[str, ...]:
    """The names of RECPRESS_ALLOWED_HOSTS: "recpress.example, *.internal.example"."""
    listed = os.environ.get(HOSTS_VARIABLE, "").lower().split(",")
    return tuple(one.strip().strip("[]").removesuffix(".") for one in listed if one.strip())


def listens_at() -> str:
    """The address of `server.address`; without one Streamlit listens at every address of the machine."""
    return (config.get_option("server.address") or "0.0.0.0").lower()


def is_loopback(name: str) -> bool:
    """Whether a name or an address can only mean this machine."""
    ip = _ip(name)
    return name == "localhost" or (ip is not None and ip.is_loopback)


def _ip(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def content_policy() -> str:
    """The content security policy of every answer."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    digests = [hashlib.sha256(script.encode()).digest() for script in INLINE_SCRIPT.findall(page)]
    inline = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return "; ".join((
        "default-src 'self'",
        f"script-src 'self' blob:{inline}",  # components of our own come as blobs
        "style-src 'self' 'unsafe-inline'",  # Streamlit writes its styles into the page
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ))

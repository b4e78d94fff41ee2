"""Signed tokens: what a page hands to the browser so that the routes know it came from a page.

A token is "expiry.session.signature" over a purpose, signed with a secret that only the server's home folder
holds. It names no person and can't be guessed, carried to another purpose, or used after its time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

DAY_S = 24 * 3600.0


def home_secret(home: Path) -> bytes:
    """The secret of a home folder, made at first use; readable by the server's user alone."""
    place = Path(home) / "secret.key"
    if not place.exists():
        handle, temporary = tempfile.mkstemp(dir=home)  # readable by this user alone
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was first: its secret is the secret
            os.link(temporary, place)
        os.unlink(temporary)
    return place.read_bytes()


def new_session() -> str:
    """A name for one session of a page, which its tokens carry."""
    return secrets.token_urlsafe(18)


def sign(secret: bytes, purpose: str, *, now: float, lifetime_s: float = DAY_S, session: str = "") -> str:
    """A token for a purpose, good for `lifetime_s`; one of a session carries its name."""
    head = f"{int(now + lifetime_s)}.{session or secrets.token_urlsafe(9)}"
    return f"{head}.{_signature(secret, purpose, head)}"


def is_valid(secret: bytes, purpose: str, token: str, *, now: float) -> bool:
    """Whether the token was signed for this purpose and is still good."""
    head, _, signature = token.rpartition(".")
    expiry = head.partition(".")[0]
    if not expiry.isdecimal() or not token.isascii():
        return False
    return hmac.compare_digest(signature, _signature(secret, purpose, head)) and now < int(expiry)


def session_of(token: str) -> str:
    """The session that a valid token was signed for."""
    return token.split(".")[1]


def key_of(secret: bytes, name: str) -> str:
    """A key to one thing, which only the holder of the secret can make."""
    return _signature(secret, "key", name)


def opens(secret: bytes, name: str, key: str) -> bool:
    """Whether this is the key to that thing."""
    return key.isascii() and hmac.compare_digest(key, key_of(secret, name))


def seconds_left(token: str, *, now: float) -> float:
    """How long a token of ours is still good."""
    return int(token.partition(".")[0]) - now


def _signature(secret: bytes, purpose: str, head: str) -> str:
    return hmac.new(secret, f"{purpose}\n{head}".encode(), hashlib.sha256).hexdigest()

"""Signed tokens: what a page hands to the browser so that the routes know it came from a page.

A token holds its expiry and its session, and is signed by itsdangerous with a secret that only the server's home folder
holds; the purpose is the salt. It names no person and can't be guessed, carried to another purpose, or used after its
time. The expiry is in the token, not the time of signing, so that each kind of link has its own lifetime.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from itsdangerous import BadData, Signer, URLSafeSerializer

DAY_S = 24 * 3600.0
_HMAC_SHA256 = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


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
    return _serializer(secret, purpose).dumps([int(now + lifetime_s), session or secrets.token_urlsafe(9)])


def session_of(secret: bytes, purpose: str, token: str, *, now: float) -> str | None:
    """The session of a token that was signed for this purpose and is still good, else None."""
    try:
        expiry, session = _serializer(secret, purpose).loads(token)
    except BadData:
        return None
    return session if now < expiry else None


def is_valid(secret: bytes, purpose: str, token: str, *, now: float) -> bool:
    """Whether the token was signed for this purpose and is still good."""
    return session_of(secret, purpose, token, now=now) is not None


def key_of(secret: bytes, name: str) -> str:
    """A key to one thing, which only the holder of the secret can make."""
    return _key_signer(secret).get_signature(name).decode()


def opens(secret: bytes, name: str, key: str) -> bool:
    """Whether this is the key to that thing."""
    return _key_signer(secret).verify_signature(name, key)


def _serializer(secret: bytes, purpose: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt=f"token: {purpose}", signer_kwargs=_HMAC_SHA256)


def _key_signer(secret: bytes) -> Signer:
    return Signer(secret, salt="key", **_HMAC_SHA256)

"""The HTTP routes beside the pages: resumable uploads in, artifacts out. Bytes go between disk and socket in pieces.

Who may ask: uploads need the token that a page was given, in a header only script of the same origin can set;
downloads need a link that a page signed. A request the browser marks as coming from another site is refused.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from compression.spec.errors import RecPressError, StorageError
from compression.spec.plain_text import TextError, read_json
from jobs.environment import plain_environment
from storage.records import LOCAL
from storage.store import Store
from ui.server.split_file import CPU_LIMIT_SIGNAL, PROCESSOR_S
from ui.server.tokens import home_secret, is_valid, key_of, opens, session_of
from ui.server.uploads import Upload, UploadRefused, Uploads

TOKEN_HEADER = "X-RecPress-Token"
KEY_HEADER = "X-RecPress-Upload-Key"  # what the beginning of an upload was answered with
UPLOAD_PURPOSE = "upload"
PIECE = 1 << 20  # bytes held in memory of one upload
SILENT_S = 30.0  # a connection that sends nothing for so long is ended
SPLITS = ("train", "valid", "test")
DAY_S = 24 * 3600.0
JOB_ID = re.compile(r"[0-9]{1,18}")
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Sender:
    """Who sends to the upload routes: the session of the token, and the secret that makes the keys of uploads."""

    session: str
    secret: bytes

    def may_use(self, upload: Upload, request: Request) -> bool:
        """An upload is the session's own, or was begun in this browser before the page was loaded again."""
        return upload.is_of(self.session) or opens(self.secret, upload.id, request.headers.get(KEY_HEADER, ""))


UploadHandler = Callable[[Request, Uploads, Sender], Awaitable[Response]]


def make_routes(open_store: Callable[[], Store], *, base: str = "") -> list[Route]:
    """The routes below `base` (the app's base path), over the store that `open_store` gives."""
    prefix = f"/{base.strip('/')}/api" if base.strip("/") else "/api"
    return [
        Route(f"{prefix}/ready", _ready(open_store)),
        Route(f"{prefix}/uploads", _guarded(open_store, _create), methods=["POST"]),
        Route(f"{prefix}/uploads/{{id}}", _guarded(open_store, _offset), methods=["HEAD"]),
        Route(f"{prefix}/uploads/{{id}}", _guarded(open_store, _patch), methods=["PATCH"]),
        Route(f"{prefix}/uploads/{{id}}", _guarded(open_store, _remove), methods=["DELETE"]),
        Route(f"{prefix}/uploads/{{id}}/finish", _guarded(open_store, _finish), methods=["POST"]),
        Route(f"{prefix}/runs/{{id}}/{{name:path}}", _signed(open_store, _run_file)),
        Route(f"{prefix}/models/{{id}}/{{name:path}}", _signed(open_store, _model_file)),
        Route(f"{prefix}/datasets/{{id}}/splits/{{split}}.csv", _signed(open_store, _split_file)),
        Route(f"{prefix}/datasets/{{id}}/{{name:path}}", _signed(open_store, _data_file)),
    ]


def _ready(open_store: Callable[[], Store]) -> Handler:
    async def ready(request: Request) -> Response:
        try:
            store = await run_in_threadpool(open_store)
            await run_in_threadpool(store.check)
        except StorageError as error:
            return _error(str(error), 503)
        return JSONResponse({"status": "ok"})

    return ready


def _guarded(open_store: Callable[[], Store], handler: UploadHandler) -> Handler:
    """An upload handler behind the check of origin and token; what is refused becomes JSON with a sentence."""

    async def guarded(request: Request) -> Response:
        store = await run_in_threadpool(open_store)
        if is_foreign(request):
            return _error("This request comes from another site and is refused.", 403)
        token, secret = request.headers.get(TOKEN_HEADER, ""), home_secret(store.home)
        session = session_of(secret, UPLOAD_PURPOSE, token, now=time.time())
        if session is None:
            return _error("This page has been open for too long. Reload it, then choose the file again: "
                          "it goes on where it stopped.", 401)
        uploads = Uploads(store.home / "uploads", store.files)
        try:
            return await handler(request, uploads, Sender(session, secret))
        except UploadRefused as refused:
            return _error(str(refused), refused.status)
        except StorageError as error:
            return _error(str(error), 507)

    return guarded


def _signed(open_store: Callable[[], Store], handler: Callable[[Request, Store], Awaitable[Response]]) -> Handler:
    """A download handler behind the check of the link's signature."""

    async def signed(request: Request) -> Response:
        store = await run_in_threadpool(open_store)
        token = request.query_params.get("token", "")
        if is_foreign(request) or not is_valid(home_secret(store.home), f"get {request.scope['path']}", token,
                                               now=time.time()):
            return _error("This link is not valid any more. Open the page it came from and take a new one.", 403)
        try:
            return await handler(request, store)
        except RecPressError as error:
            return _error(str(error), 404)

    return signed


def is_foreign(request: HTTPConnection) -> bool:
    """Whether the browser says that another site sent the request; who says nothing is judged by the token alone."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("Host")


async def _received(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises UploadRefused (408) where nothing comes any more."""
    stream = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream, None), SILENT_S)
        except TimeoutError:
            raise UploadRefused(f"Nothing arrived for {SILENT_S:.0f} s, so the connection was ended. "
                                "Resume the upload.", 408) from None
        if chunk is None:
            return
        yield chunk


async def _own(request: Request, uploads: Uploads, sender: Sender, *, take_over: bool = False) -> Upload:
    """The upload of the path, as far as it has come. Raises UploadRefused (404) where it is another session's."""
    upload = await run_in_threadpool(uploads.find, request.path_params["id"], owner=LOCAL)
    if not sender.may_use(upload, request):
        raise UploadRefused("This upload is no longer kept. Choose the file again.", 404)
    return await run_in_threadpool(uploads.hand_over, upload, sender.session) if take_over else upload


async def _create(request: Request, uploads: Uploads, sender: Sender) -> Response:
    body = b""
    async for chunk in _received(request):
        body += chunk
        if len(body) > 4096:
            raise UploadRefused("An upload begins with its name, size and kind, and nothing more.", 413)
    try:
        wanted = read_json(body)
        name, size, kind = wanted["name"], wanted["size"], wanted["kind"]
    except (TextError, KeyError, TypeError):
        raise UploadRefused("An upload begins with {name, size, kind} as JSON.", 400) from None
    upload = await run_in_threadpool(uploads.create, name, size, kind=kind, owner=LOCAL,
                                     session=sender.session)
    return JSONResponse({"id": upload.id, "key": key_of(sender.secret, upload.id), "offset": 0}, 201,
                        headers={"Upload-Offset": "0"})


async def _offset(request: Request, uploads: Uploads, sender: Sender) -> Response:
    upload = await _own(request, uploads, sender)
    return Response(headers={"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.size),
                             "Cache-Control": "no-store"})


_writing: set[str] = set()  # ids that a request of this process is writing


async def _patch(request: Request, uploads: Uploads, sender: Sender) -> Response:
    upload = await _own(request, uploads, sender, take_over=True)
    said = request.headers.get("Upload-Offset", "")
    if not said.isdecimal() or len(said) > 18:
        raise UploadRefused("A piece needs the header Upload-Offset with the byte it starts at.", 400)
    if int(said) != upload.offset or upload.id in _writing:
        return _error(f"{upload.name} has reached byte {upload.offset:,}; got bytes from {int(said):,} on.", 409,
                      offset=upload.offset)
    _writing.add(upload.id)
    try:
        offset = await _take(request, uploads, upload, int(said))
    finally:
        _writing.discard(upload.id)
    return Response(status_code=204, headers={"Upload-Offset": str(offset)})


async def _take(request: Request, uploads: Uploads, upload: Upload, offset: int) -> int:
    """Write the body in pieces as it arrives; what came before a lost or silent connection is kept."""
    piece = bytearray()
    silent: UploadRefused | None = None
    try:
        async for chunk in _received(request):
            piece += chunk
            if len(piece) >= PIECE:
                offset = await run_in_threadpool(uploads.append, upload, offset, bytes(piece))
                piece.clear()
    except ClientDisconnect:
        pass
    except UploadRefused as refused:
        if refused.status != 408:
            raise
        silent = refused
    if piece:
        offset = await run_in_threadpool(uploads.append, upload, offset, bytes(piece))
    if silent:
        raise silent
    return offset


async def _finish(request: Request, uploads: Uploads, sender: Sender) -> Response:
    own = await _own(request, uploads, sender, take_over=True)
    upload = await run_in_threadpool(uploads.finish, own.id, owner=LOCAL)
    return JSONResponse({"id": upload.id, "name": upload.name, "size": upload.size, "digest": upload.digest})


async def _remove(request: Request, uploads: Uploads, sender: Sender) -> Response:
    own = await _own(request, uploads, sender)
    await run_in_threadpool(uploads.remove, own.id, owner=LOCAL)
    return Response(status_code=204)


async def _run_file(request: Request, store: Store) -> Response:
    said, name = request.path_params["id"], request.path_params["name"]
    if not JOB_ID.fullmatch(said):
        raise StorageError(f"A run has a number; got {said[:20]!r}.")
    job = int(said)
    result = await run_in_threadpool(store.result, job)
    return _send(store, result.files, name, f"run-{job}-{Path(name).name}")


async def _model_file(request: Request, store: Store) -> Response:
    row = await run_in_threadpool(store.model, request.path_params["id"])
    return _send(store, row.manifest, request.path_params["name"])


async def _data_file(request: Request, store: Store) -> Response:
    row = await run_in_threadpool(store.dataset, request.path_params["id"])
    return _send(store, row.manifest, request.path_params["name"])


def _send(store: Store, files: dict[str, str], name: str, shown: str | None = None) -> Response:
    if name not in files:
        raise StorageError(f"There is no file {name[:80]!r} here; there are: {', '.join(sorted(files)) or 'none'}.")
    return _attachment(store.files.path(files[name]), shown or Path(name).name)


def _attachment(path: Path, name: str) -> Response:
    """A file streamed from disk. The encoding header keeps streamlit's gzip away, which would take 17 times as long."""
    return FileResponse(path, filename=name, media_type="application/octet-stream", headers={
        "Content-Encoding": "identity", "X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache",
        "Cross-Origin-Resource-Policy": "same-origin"})


async def _split_file(request: Request, store: Store) -> Response:
    """A split as CSV, cut from the stored files in a child process and kept for a day."""
    split = request.path_params["split"]
    if split not in SPLITS:
        raise StorageError(f"A dataset has the splits {', '.join(SPLITS)}; got {split[:20]!r}.")
    row = await run_in_threadpool(store.dataset, request.path_params["id"])
    kept = store.home / "downloads"
    kept.mkdir(exist_ok=True)
    for old in kept.iterdir():
        if old.is_file() and old.stat().st_mtime < time.time() - DAY_S:
            old.unlink(missing_ok=True)
    target = kept / f"{row.id}-{split}.csv"
    if not target.exists():
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ui.server.split_file", str(store.files.root), split, str(target),
            cwd=Path(__file__).parents[2], env=plain_environment(), stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE)
        _, said = await child.communicate(json.dumps(row.manifest).encode())
        if child.returncode:
            raise StorageError(why_no_split(split, child.returncode, said.decode(errors="replace")))
    name = "".join(letter if letter.isalnum() or letter in " ._-" else "_" for letter in row.name)
    return _attachment(target, f"{name}-{split}.csv")


def why_no_split(split: str, status: int, said: str) -> str:
    """Why the child that cuts a split ended without one."""
    if status == -CPU_LIMIT_SIGNAL:
        return (f"Cutting the {split} split took more than {PROCESSOR_S // 60} minutes of processor time; download the "
                "whole file instead.")
    return said.strip().splitlines()[-1] if said.strip() else "No rows came back."


def _error(sentence: str, status: int, *, offset: int | None = None) -> JSONResponse:
    headers = {"Cache-Control": "no-store"} | ({"Upload-Offset": str(offset)} if offset is not None else {})
    headers |= {"Connection": "close"} if status == 408 else {}  # the rest of its body will not be read
    return JSONResponse({"error": sentence}, status, headers=headers)

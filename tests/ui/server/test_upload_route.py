"""The upload and download routes: resumable, refused in sentences, and never through memory."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.applications import Starlette

from storage.access import LOCAL_ACCESS
from storage.store import Store, open_store
from tests.ui.filled import add_subject, finish_next, spec_of
from tests.ui.server.live_server import Client, served
from ui.server.routes import KEY_HEADER, SILENT_S, TOKEN_HEADER, UPLOAD_PURPOSE, make_routes
from ui.server.tokens import DAY_S, home_secret, is_valid, key_of, opens, session_of, sign
from ui.server.uploads import UploadRefused, Uploads
from ui.shared.uploader import received


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("home")
    opened = open_store(LOCAL_ACCESS, url=f"sqlite:///{home / 'recpress.db'}", root=home)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def client(store) -> Iterator[Client]:
    with served(Starlette(routes=make_routes(lambda: store))) as port:
        yield Client(port, {TOKEN_HEADER: session_token(store)})


def session_token(store: Store, session: str = "") -> str:
    return sign(home_secret(store.home), UPLOAD_PURPOSE, now=time.time(), session=session)


def begin(client: Client, name: str = "clicks.csv", size: int = 10, kind: str = "data") -> str:
    answer = client.post("/api/uploads", json={"name": name, "size": size, "kind": kind})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def patch(client: Client, upload: str, offset: int, data: bytes):
    return client.patch(f"/api/uploads/{upload}", content=data, headers={"Upload-Offset": str(offset)})


def test_a_file_sent_in_two_pieces_arrives_whole_under_its_digest(client, store):
    data = os.urandom(3_000_000)
    upload = begin(client, size=len(data))
    assert patch(client, upload, 0, data[:1_700_001]).headers["Upload-Offset"] == "1700001"
    assert client.head(f"/api/uploads/{upload}").headers["Upload-Offset"] == "1700001"
    assert patch(client, upload, 1_700_001, data[1_700_001:]).status_code == 204
    done = client.post(f"/api/uploads/{upload}/finish").json()
    assert done["digest"] == sha256(data).hexdigest()
    assert store.files.path(done["digest"]).read_bytes() == data
    assert not (store.home / "uploads" / f"{upload}.part").exists()


def test_the_beginning_of_an_upload_is_small(client):
    given = {"name": "clicks.csv", "size": 10, "kind": "data"}
    assert client.post("/api/uploads", json=given | {"more": "x" * 3000}).status_code == 201
    answer = client.post("/api/uploads", json=given | {"more": "x" * 5000})
    assert answer.status_code == 413 and "name, size and kind, and nothing more" in answer.json()["error"]


def test_finishing_twice_gives_the_same_digest(client):
    upload = begin(client, size=3)
    patch(client, upload, 0, b"abc")
    first, second = (client.post(f"/api/uploads/{upload}/finish").json() for _ in range(2))
    assert first == second


def test_a_stale_offset_is_answered_with_409_and_the_right_one(client):
    upload = begin(client, size=10)
    patch(client, upload, 0, b"12345")
    stale = patch(client, upload, 0, b"12345")
    assert (stale.status_code, stale.headers["Upload-Offset"]) == (409, "5")
    assert patch(client, upload, 7, b"890").status_code == 409
    assert client.head(f"/api/uploads/{upload}").headers["Upload-Offset"] == "5"


def test_more_bytes_than_announced_are_refused(client):
    upload = begin(client, size=4)
    answer = patch(client, upload, 0, b"12345")
    assert answer.status_code == 413
    assert "announced with 4 bytes" in answer.json()["error"]


def test_an_incomplete_upload_cannot_be_finished(client):
    upload = begin(client, size=10)
    patch(client, upload, 0, b"1234")
    answer = client.post(f"/api/uploads/{upload}/finish")
    assert answer.status_code == 409
    assert "4 of 10 bytes have arrived" in answer.json()["error"]


@pytest.mark.parametrize(("name", "kind", "says"), [
    ("../../etc/passwd.csv", "data", "starts with a letter or a digit"),
    ("a/b.csv", "data", "starts with a letter or a digit"),
    ("a..b.csv", "data", "Rename the file"),
    (".hidden.csv", "data", "Rename the file"),
    ("x" * 200 + ".csv", "data", "up to 150"),
    ("run.exe", "data", "A dataset comes as .csv"),
    ("model.pickle", "model", "can run code when it is opened"),
    ("weights.pkl", "model", "Save the weights as .safetensors"),
    ("clicks.csv", "elsewhere", "for 'model' or 'data'"),
])
def test_a_name_that_is_not_allowed_is_refused_with_the_reason(client, name, kind, says):
    answer = client.post("/api/uploads", json={"name": name, "size": 10, "kind": kind})
    assert answer.status_code == 422
    assert says in answer.json()["error"]


@pytest.mark.parametrize("size", [0, -1, 1.5, "10", True, None])
def test_a_size_that_is_no_whole_positive_number_is_refused(client, size):
    assert client.post("/api/uploads", json={"name": "a.csv", "size": size, "kind": "data"}).status_code == 422


def test_a_file_above_the_limit_is_refused_before_its_first_byte(client, monkeypatch):
    monkeypatch.setenv("RECPRESS_MAX_UPLOAD_GB", "0.5")
    answer = client.post("/api/uploads", json={"name": "a.csv", "size": 600_000_000, "kind": "data"})
    assert answer.status_code == 413
    assert "at most 0.5 GB" in answer.json()["error"]


def test_a_file_the_disk_cannot_hold_is_refused_before_its_first_byte(client, monkeypatch):
    monkeypatch.setenv("RECPRESS_MAX_UPLOAD_GB", "1e12")
    answer = client.post("/api/uploads", json={"name": "a.csv", "size": 10**19, "kind": "data"})
    assert answer.status_code == 507
    assert "of disk" in answer.json()["error"]


def test_a_disk_that_fills_up_on_the_way_is_said(client, monkeypatch):
    upload = begin(client, size=10)

    as_before = Path.open

    def full(self, mode="r", *args, **kwargs):
        if mode == "r+b":
            raise OSError(28, "No space left on device")
        return as_before(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    answer = patch(client, upload, 0, b"12345")
    assert answer.status_code == 507
    assert "disk is full" in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"name": "a.csv"}', b"x" * 5000])
def test_a_beginning_that_is_no_small_json_object_is_refused(client, body):
    assert client.post("/api/uploads", content=body).status_code in (400, 413)


@pytest.mark.parametrize("offset", ["", "-1", "x", "1" * 30])
def test_a_piece_without_a_sane_offset_is_refused(client, offset):
    upload = begin(client)
    headers = {"Upload-Offset": offset}
    assert client.patch(f"/api/uploads/{upload}", content=b"x", headers=headers).status_code == 400


@pytest.mark.parametrize("path", ["/api/uploads/" + "0" * 32, "/api/uploads/..%2f..%2fsecret", "/api/uploads/x"])
def test_an_unknown_upload_is_not_found(client, path):
    assert client.head(path).status_code == 404


def test_a_removed_upload_leaves_nothing(client, store):
    upload = begin(client)
    assert client.delete(f"/api/uploads/{upload}").status_code == 204
    assert client.head(f"/api/uploads/{upload}").status_code == 404
    assert not list((store.home / "uploads").glob(f"{upload}*"))


@pytest.mark.parametrize("headers", [
    {TOKEN_HEADER: ""}, {TOKEN_HEADER: "1.2.3"}, {TOKEN_HEADER: "9999999999.abc." + "0" * 64}])
def test_without_a_token_of_this_server_nothing_is_taken(client, headers):
    answer = client.post("/api/uploads", json={"name": "a.csv", "size": 1, "kind": "data"}, headers=headers)
    assert answer.status_code == 401
    assert "Reload it" in answer.json()["error"]


@pytest.mark.parametrize("headers", [
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://elsewhere.example"},
    {"Origin": "null"}])
def test_a_request_from_another_site_is_refused_even_with_a_token(client, headers):
    answer = client.post("/api/uploads", json={"name": "a.csv", "size": 1, "kind": "data"}, headers=headers)
    assert answer.status_code == 403


def test_a_token_is_good_for_its_purpose_and_its_time_only(tmp_path):
    secret = home_secret(tmp_path)
    token = sign(secret, "upload", now=1000.0)
    assert is_valid(secret, "upload", token, now=1000.0 + DAY_S - 1)
    assert not is_valid(secret, "upload", token, now=1000.0 + DAY_S)
    assert not is_valid(secret, "get /api/runs/1/bundle.zip", token, now=1000.0)
    assert not is_valid(secret, "upload", f"9{token}", now=1000.0)
    assert not is_valid(secret, "upload", token[:-8] + "A" * 8, now=1000.0)
    assert is_valid(home_secret(tmp_path), "upload", token, now=1000.0)  # after a restart too
    assert not is_valid(b"another home's secret", "upload", token, now=1000.0)
    assert (tmp_path / "secret.key").stat().st_mode & 0o077 == 0


def test_a_token_carries_its_session_and_a_key_opens_one_thing(tmp_path):
    secret = home_secret(tmp_path)
    token = sign(secret, "upload", now=1000.0, session="a session")
    assert session_of(secret, "upload", token, now=1000.0) == "a session"
    assert session_of(secret, "upload", token, now=1000.0 + DAY_S) is None
    key = key_of(secret, "upload 7")
    assert opens(secret, "upload 7", key) and not opens(secret, "upload 8", key)
    assert not opens(secret, "upload 7", "") and not opens(secret, "upload 7", "\xff")
    assert not opens(b"another home's secret", "upload 7", key)


def test_uploads_forgotten_for_a_week_are_swept(tmp_path, store):
    uploads = Uploads(tmp_path / "uploads", store.files)
    old, fresh = (uploads.create("a.csv", 10, kind="data", owner="local") for _ in range(2))
    for file in (tmp_path / "uploads").glob(f"{old.id}.*"):
        os.utime(file, (1, 1))
    assert uploads.sweep() == 1
    assert [note.stem for note in (tmp_path / "uploads").glob("*.json")] == [fresh.id]
    assert uploads.find(fresh.id, owner="local").offset == 0


def test_an_upload_that_was_swept_goes_on_within_a_week_and_is_gone_after_it(tmp_path, store):
    uploads = Uploads(tmp_path / "uploads", store.files)
    wanted, gone = (uploads.create("a.csv", 10, kind="data", owner="local") for _ in range(2))
    for upload in (wanted, gone):
        uploads.append(upload, 0, b"12345")
        for file in (tmp_path / "uploads").glob(f"{upload.id}.*"):
            os.utime(file, (1, 1))
    assert uploads.sweep() == 2
    assert uploads.find(wanted.id, owner="local").offset == 5
    uploads.clock = lambda: time.time() + 8 * DAY_S
    uploads.sweep()
    with pytest.raises(UploadRefused, match="no longer kept"):
        uploads.find(gone.id, owner="local")


def test_uploads_are_not_promised_more_disk_than_there_is(tmp_path, store, monkeypatch):
    uploads = Uploads(tmp_path / "uploads", store.files)
    free = 30_000_000_000
    monkeypatch.setattr("ui.server.uploads.shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    first = uploads.create("a.csv", 10_000_000_000, kind="data", owner="local")
    with pytest.raises(UploadRefused, match=r"needs 10.0 GB .* 30.0 GB free, of which 20.0 GB are promised") as refused:
        uploads.create("b.csv", 5_000_000_000, kind="data", owner="somebody else")
    assert refused.value.status == 507
    os.truncate(tmp_path / "uploads" / f"{first.id}.part", 6_000_000_000)  # sparse: what has arrived is no longer free
    free = 24_000_000_000
    uploads.create("b.csv", 4_000_000_000, kind="data", owner="local")  # 14 promised, 8 wanted
    with pytest.raises(UploadRefused, match=r"22\.0 GB are promised"):
        uploads.create("c.csv", 1_000_000_000, kind="data", owner="local")
    uploads.remove(first.id, owner="local")
    uploads.create("c.csv", 1_000_000_000, kind="data", owner="local")


def signed(store: Store, path: str) -> str:
    return f"{path}?token={sign(home_secret(store.home), f'get {path}', now=time.time())}"


def test_the_bundle_of_a_run_comes_as_stored_and_uncompressed(client, store):
    model, data = add_subject(store)
    store.submit(spec_of(model, data, ()), name="baseline")
    job = finish_next(store, 1.0, 0.0, 1.0)
    answer = client.get(signed(store, f"/api/runs/{job}/bundle.zip"), headers={"Accept-Encoding": "gzip"})
    assert answer.content == b"bundle"
    assert answer.headers["content-encoding"] == "identity"
    assert f'filename="run-{job}-bundle.zip"' in answer.headers["content-disposition"]


@pytest.mark.parametrize("path", ["/api/runs/1/bundle.zip", "/api/runs/1/bundle.zip?token=1.2.3"])
def test_a_download_without_a_signed_link_is_refused(client, path):
    assert client.get(path).status_code == 403


def test_a_link_opens_its_own_file_only(client, store):
    model, _ = add_subject(store)
    link = signed(store, f"/api/models/{model}/config.json")
    assert client.get(link).content == b"model"
    assert client.get(link.replace("config.json", "model.safetensors")).status_code == 403


def test_a_file_that_is_not_there_is_named_with_those_that_are(client, store):
    model, _ = add_subject(store)
    answer = client.get(signed(store, f"/api/models/{model}/other.bin"))
    assert answer.status_code == 404
    assert "there are: config.json" in answer.json()["error"]


def test_an_upload_belongs_to_the_session_that_began_it(store, client):
    mine, other = ({TOKEN_HEADER: session_token(store, name)} for name in ("session-one-one", "session-two-two"))
    made = client.post("/api/uploads", json={"name": "a.csv", "size": 4, "kind": "data"}, headers=mine).json()
    path = f"/api/uploads/{made['id']}"
    for answer in (client.head(path, headers=other), client.delete(path, headers=other),
                   client.patch(path, content=b"evil", headers=other | {"Upload-Offset": "0"}),
                   client.post(f"{path}/finish", headers=other),
                   client.head(path, headers=other | {KEY_HEADER: "0" * 64}),
                   client.head(path, headers=other | {KEY_HEADER: "\xff"})):
        assert answer.status_code == 404
    assert client.head(path, headers=mine).headers["Upload-Offset"] == "0"
    renewed = {TOKEN_HEADER: session_token(store, "session-one-one")}
    assert client.patch(path, content=b"mine", headers=renewed | {"Upload-Offset": "0"}).status_code == 204
    client.post(f"{path}/finish", headers=renewed)
    assert client.delete(path, headers=other).status_code == 404


def test_an_upload_goes_on_after_a_reload_by_its_key_and_is_then_the_new_sessions(store, client, monkeypatch):
    before, after = "before-the-reload", "after-the-reload"
    made = client.post("/api/uploads", json={"name": "a.csv", "size": 4, "kind": "data"},
                       headers={TOKEN_HEADER: session_token(store, before)}).json()
    path, headers = f"/api/uploads/{made['id']}", {TOKEN_HEADER: session_token(store, after), KEY_HEADER: made["key"]}
    assert client.head(path, headers=headers).headers["Upload-Offset"] == "0"
    assert client.patch(path, content=b"1234", headers=headers | {"Upload-Offset": "0"}).status_code == 204
    assert client.post(f"{path}/finish", headers=headers).status_code == 200
    monkeypatch.setattr("ui.shared.uploader.store", lambda: store)
    assert [one.name for one in received([made["id"]], kind="data", session=after)] == ["a.csv"]
    assert received([made["id"]], kind="data", session=before) == []


def half_sent(client: Client, head: str) -> socket.socket:
    sent = socket.create_connection(("127.0.0.1", client.port), timeout=60)
    headers = "".join(f"{name}: {value}\r\n" for name, value in client.headers.items())
    sent.sendall(f"{head}\r\nHost: localhost\r\n{headers}Content-Length: 10\r\n".encode())
    return sent


def test_a_silent_upload_ends_keeps_what_came_and_can_go_on(client, monkeypatch):
    monkeypatch.setattr("ui.server.routes.SILENT_S", 0.5)
    upload = begin(client, size=10)
    with half_sent(client, f"PATCH /api/uploads/{upload} HTTP/1.1") as silent:
        silent.sendall(b"Upload-Offset: 0\r\n\r\n1234")
        answer = b"".join(iter(lambda: silent.recv(4096), b""))  # until the server closes the connection
    assert answer.startswith(b"HTTP/1.1 408") and b"Resume the upload" in answer
    assert client.head(f"/api/uploads/{upload}").headers["Upload-Offset"] == "4"
    assert patch(client, upload, 4, b"567890").status_code == 204


def test_a_silent_beginning_ends(client, monkeypatch):
    monkeypatch.setattr("ui.server.routes.SILENT_S", 0.5)
    with half_sent(client, "POST /api/uploads HTTP/1.1") as silent:
        silent.sendall(b'\r\n{"na')
        assert silent.recv(4096).startswith(b"HTTP/1.1 408")


def test_silence_of_half_a_minute_is_too_long():
    assert SILENT_S == 30

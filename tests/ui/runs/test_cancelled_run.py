"""A cancelled run says whether it had begun: what never ran has no checkpoint to go on from, and no log to come."""

import pytest

from compression.spec.records import Step
from storage.store import open_store
from tests.ui.app import open_page, texts
from tests.ui.filled import WORKER, add_subject, spec_of


@pytest.mark.parametrize(("begun", "says"), [
    (False, "cancelled before it began. Retry queues it again."), (True, "Retry goes on from its last checkpoint.")])
def test_a_cancelled_run(tmp_path, monkeypatch, begun, says):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    store = open_store(url=f"sqlite:///{tmp_path / 'recpress.db'}", root=tmp_path)
    model, data = add_subject(store)
    number = store.submit(spec_of(model, data, (Step(method="prune.magnitude"),)), name="stopped")
    job = store.claim(WORKER, "cpu") if begun else None
    store.cancel(number)
    if job:
        store.release(number, WORKER, attempt=job.attempt)
    store.close()
    app = open_page("run", id=number)
    assert says in texts(app) and "This job has no log." in texts(app)
    assert [button.label for button in app.button] == ["Clone", "Retry"]

"""A run that did not begin: what a waiting one waits for, and what a cancelled one can go on from."""

import pytest

from compression.spec.records import Step
from tests.ui.app import open_page, texts
from tests.ui.filled import WORKER, add_subject, spec_of


@pytest.mark.parametrize(("begun", "says"), [
    (False, "cancelled before it began. Retry queues it again."), (True, "Retry goes on from its last checkpoint.")])
def test_a_cancelled_run_says_whether_it_had_begun(store, begun, says):
    model, data = add_subject(store)
    number = store.submit(spec_of(model, data, (Step(method="prune.magnitude"),)), name="stopped")
    job = store.claim(WORKER, "cpu") if begun else None
    store.cancel(number)
    if job:
        store.release(number, WORKER, attempt=job.attempt)
    app = open_page("run", id=number)
    assert says in texts(app) and "This job has no log." in texts(app)
    assert [button.label for button in app.button] == ["Clone", "Retry"]


def test_a_run_for_a_gpu_says_that_it_waits_for_one(store):
    model, data = add_subject(store)
    spec = spec_of(model, data, (Step(method="prune.magnitude"),))
    number = store.submit(spec.model_copy(update={"target": spec.target.model_copy(update={"device": "cuda"})}),
                          name="on a GPU")
    app = open_page("run", id=number)
    assert app.get("progress")[0].proto.text == "Waits for a worker with a GPU"

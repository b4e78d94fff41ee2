"""Who is alive: judged by signs of life that somebody saw or missed, never by comparing the clocks of two moments."""

import pytest

from compression.spec.records import SampleSpec
from storage.access import LOCAL_ACCESS
from storage.silence import LEASE_S, Silence
from storage.store import open_store
from storage.workers import FORGET_S
from tests.storage.given import Clock, pass_a_lease

HOUR_S = 3600.0


@pytest.fixture
def other(database_url, tmp_path):
    """The store of another process, whose wall clock and monotonic clock are its own."""
    opened = open_store(LOCAL_ACCESS, database_url, tmp_path / "home", clock=Clock(), monotonic=Clock())
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 24 * HOUR_S])
def test_a_wall_clock_that_jumps_takes_no_job_from_a_worker_that_gives_signs(store, other, clock, monotonic, jump_s):
    job_id = store.submit(SampleSpec())
    attempt = other.claim("w1", "cpu").attempt
    for _ in range(12):
        clock.now += jump_s / 12  # of the one who watches; the worker's own stands still
        monotonic.now += LEASE_S / 3
        assert other.heartbeat(job_id, "w1", attempt=attempt) == "go"
        assert store.claim("w2", "cpu") is None
    assert store.job(job_id).worker == "w1"


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
def test_a_lost_job_is_claimed_after_a_lease_whatever_the_wall_clocks_say(store, other, clock, monotonic, jump_s):
    job_id = store.submit(SampleSpec())
    other.clock.now += jump_s
    other.claim("w1", "cpu")
    clock.now -= jump_s
    assert store.claim("w2", "cpu") is None
    pass_a_lease(store, monotonic)
    assert store.claim("w2", "cpu").id == job_id


def test_a_heartbeat_between_the_look_and_the_claim_keeps_the_job(store, other, monotonic):
    job_id = store.submit(SampleSpec())
    attempt = other.claim("w1", "cpu").attempt
    pass_a_lease(store, monotonic)
    other.heartbeat(job_id, "w1", attempt=attempt)
    assert store.claim("w2", "cpu") is None


def test_a_watcher_that_was_suspended_itself_takes_nothing_when_it_wakes(store, other, monotonic):
    job_id = store.submit(SampleSpec())
    attempt = other.claim("w1", "cpu").attempt
    store.claim("w2", "cpu")
    monotonic.now += HOUR_S  # the whole machine stood still: the worker, too, had no chance to give a sign
    assert store.claim("w2", "cpu") is None
    assert other.heartbeat(job_id, "w1", attempt=attempt) == "go"


def test_a_new_attempt_is_watched_from_its_own_beginning(store, other, monotonic):
    store.submit(SampleSpec())
    store.claim("w1", "cpu")
    pass_a_lease(store, monotonic)
    assert other.claim("w2", "cpu") is None  # has watched nothing yet
    assert store.claim("w2", "cpu").attempt == 2
    assert store.claim("w3", "cpu") is None


def test_a_worker_is_alive_while_its_signs_come_and_silent_after_a_lease_without(store, clock, monotonic):
    store.add_worker("w1", "cpu")
    store.add_worker("w2", "cpu")
    assert [worker.alive for worker in store.workers()] == [True, True]
    clock.now -= HOUR_S
    monotonic.now += LEASE_S + 1
    store.worker_seen("w2", "cpu")
    assert [(worker.id, worker.alive) for worker in store.workers()] == [("w2", True), ("w1", False)]


def test_a_silent_gpu_worker_no_longer_decides_where_an_equal_run_counts_as_done(store, monotonic):
    store.add_worker("w1", "cuda:0")
    with store.database.reading(store.access) as session:
        assert store._best_device(session) == "cuda"
    monotonic.now += LEASE_S + 1
    with store.database.reading(store.access) as session:
        assert store._best_device(session) == "cpu"


@pytest.mark.slow
def test_a_worker_long_silent_is_forgotten_and_listed_again_when_it_comes_back(store, clock, monotonic):
    store.add_worker("w1", "cuda:0")
    store.add_worker("w2", "cpu")
    clock.now += 48 * HOUR_S  # alone, this forgets nobody
    store.add_worker("w3", "cpu")
    assert {worker.id for worker in store.workers()} == {"w1", "w2", "w3"}
    for _ in range(int(FORGET_S / LEASE_S) + 1):
        monotonic.now += LEASE_S
        clock.now += 1
        store.worker_seen("w2", "cpu")
        store.worker_seen("w3", "cpu")
    assert {worker.id for worker in store.workers()} == {"w2", "w3"}
    store.worker_seen("w1", "cuda:0")
    assert {(worker.id, worker.device) for worker in store.workers()} >= {("w1", "cuda:0")}


def test_silence_is_the_time_watched_since_the_mark_last_changed():
    clock = Clock()
    silence = Silence(clock, longest_gap_s=5)
    assert silence.observe({"a": 1}) == {"a": 0}
    clock.now += 3
    assert silence.observe({"a": 1, "b": 1}) == {"a": 3, "b": 0}
    clock.now += 100
    assert silence.observe({"a": 2, "b": 1}) == {"a": 0, "b": 5}
    clock.now += 1
    assert silence.observe({"a": 2}) == {"a": 1}
    assert silence.observe({"b": 1}) == {"b": 0}  # it was gone meanwhile


def test_a_worker_on_this_machine_that_is_gone_loses_its_job_before_the_lease_ends(store):
    job_id = store.submit(SampleSpec())
    store.add_worker("w1", "cpu", pid=4_000_001)
    store.add_worker("w2", "cpu", pid=4_000_002)
    store.claim("w1", "cpu")
    assert store.drop_dead_workers(lambda pid: pid == 4_000_002) == ["w1"]
    assert store.claim("w2", "cpu").id == job_id
    assert [worker.id for worker in store.workers()] == ["w2"]
    assert store.workers()[0].alive

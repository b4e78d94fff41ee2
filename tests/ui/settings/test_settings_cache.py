"""The cache of steps on Settings: what it weighs, its limit, and the button that empties it."""


from compression.running.step_cache import DEFAULT_LIMIT_BYTES, GB
from jobs.records import CACHE_BYTES
from jobs.worker import assignment
from tests.ui.app import open_page
from tests.ui.filled import fill


def test_settings_show_the_cache_and_empty_it(store):
    (store.home / "steps").mkdir()
    for name in ("a", "b"):
        (store.home / "steps" / f"{name}.step").write_bytes(bytes(1_000_000))
    app = open_page("settings")
    assert next(figure.value for figure in app.metric if figure.label == "Kept") == "2.00 MB"
    next(button for button in app.button if button.label == "Empty the cache").click().run()
    assert not app.exception and not list((store.home / "steps").iterdir())


def test_the_limit_is_set_in_gigabytes_and_reaches_the_jobs(store):
    ids = fill(store)
    job = store.job(ids["int8 all"])
    assert assignment(store, job).cache_bytes == DEFAULT_LIMIT_BYTES
    app = open_page("settings")
    app.number_input(key="settings.cache").set_value(12).run()
    assert not app.exception and store.setting(CACHE_BYTES) == 12 * GB
    assert assignment(store, job).cache_bytes == 12 * GB
    app.number_input(key="settings.cache").set_value(0).run()
    assert assignment(store, job).cache_bytes == 0

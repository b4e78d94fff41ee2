"""The limits of jobs on Settings: shown with their defaults, kept within bounds, read by the worker's watch."""


from jobs.limits import DURATION, LIMITS, STANDSTILL
from tests.ui.app import open_page


def test_the_limits_of_jobs_show_their_defaults_and_bounds_and_reach_the_workers(store):
    app = open_page("settings")
    assert (STANDSTILL.seconds(store), DURATION.seconds(store)) == (600, 72 * 3600)
    for limit in LIMITS:
        field = app.number_input(key=f"settings.{limit.key}")
        assert (field.value, field.min, field.max) == (limit.default, limit.lower, limit.upper)
    app.number_input(key=f"settings.{STANDSTILL.key}").set_value(25).run()
    app.number_input(key=f"settings.{DURATION.key}").set_value(0).run()
    assert not app.exception
    assert (STANDSTILL.seconds(store), DURATION.seconds(store)) == (1500, 0)


def test_a_limit_outside_the_bounds_is_shown_at_the_bound(store):
    store.set_setting(STANDSTILL.key, 0.02)
    assert open_page("settings").number_input(key=f"settings.{STANDSTILL.key}").value == STANDSTILL.lower

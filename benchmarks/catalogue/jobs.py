"""All jobs of a run, from the table of sweeps, the controls and the datasets at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.catalogue.controls import CONTROLS, Control
from benchmarks.catalogue.points import Job
from benchmarks.catalogue.references import Source
from benchmarks.catalogue.sweeps import BOTH, DENSE, SWEEPS, TABLES, Settings, Sweep
from compression.method import METHODS
from compression.recipe import FINE_TUNE, parse_step
from compression.records import Recipe, Step

PARTS = {"movielens": (TABLES, DENSE, BOTH), "log": (TABLES, BOTH), "quick": (TABLES, DENSE, BOTH)}
QUICK_SETTINGS = 1  # of each sweep, in a quick run


def jobs_of(source: Source, *, quick: bool = False) -> Iterator[Job]:
    """What is tried on a dataset: every seed of every sweep, and of every control, whose part it has room for."""
    parts = PARTS.get(source.key, (DENSE, BOTH))
    sweeps = [sweep for sweep in SWEEPS if sweep.method in METHODS and sweep.on in parts]
    controls = [control for control in CONTROLS.values() if control.on in parts]
    for seed in source.seeds[:1] if quick else source.seeds:
        for control in controls:
            for value in control.values[:QUICK_SETTINGS] if quick else control.values:
                yield control_job(source, seed, control, value)
        for sweep in sweeps:
            for settings in sweep.settings[:QUICK_SETTINGS] if quick else sweep.settings:
                yield from sweep_jobs(source, seed, sweep, settings)


def control_job(source: Source, seed: int, control: Control, value: object) -> Job:
    return Job(dataset=source.key, seed=seed, series=control.name, on=control.on, method="", control=control.key,
               setting=control.label(value), value=value, tuned=control.trained)


def sweep_jobs(source: Source, seed: int, sweep: Sweep, settings: Settings) -> Iterator[Job]:
    """The recipe without and with an epoch of fine-tuning, as the sweep says."""
    steps = [*sweep.before, (sweep.method, settings)]
    for tuned in {"never": (False,), "both": (False, True), "always": (True,)}[sweep.tuned]:
        training = [(FINE_TUNE, source.fine_tune)] if tuned and sweep.method != FINE_TUNE else []
        if sweep.method == FINE_TUNE:
            steps = [*sweep.before, (FINE_TUNE, {**source.fine_tune, **settings})]
        recipe = Recipe(name=sweep.name, seed=seed,
                        steps=tuple(Step(method=method, params=params)
                                    for method, params in [*steps, *training, *sweep.after]))
        yield Job(dataset=source.key, seed=seed, series=sweep.name, on=sweep.on, method=sweep.method,
                  setting=setting_text(settings), tuned=tuned, recipe=recipe)


def setting_text(settings: Settings) -> str:
    """The settings as a table shows them: "keep 0.5"."""
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in settings.items()) or "default"


def broken(sweeps: Iterable[Sweep] = SWEEPS) -> list[str]:
    """Settings that their method refuses, and methods without a sweep: both are mistakes in the table."""
    from compression.errors import RecipeError

    found = []
    for sweep in sweeps:
        if sweep.method not in METHODS:
            found.append(f"there is no method {sweep.method}")
            continue
        for settings in sweep.settings:
            try:
                parse_step(Step(method=sweep.method, params=settings))
            except RecipeError as error:
                found.append(str(error))
    missing = sorted(set(METHODS) - {sweep.method for sweep in sweeps})
    return found + [f"{key} has no sweep" for key in missing]

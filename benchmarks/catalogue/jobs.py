"""All jobs of a run, from the table of sweeps, the controls and the datasets at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.catalogue.controls import CONTROLS, Control
from benchmarks.catalogue.points import Job
from benchmarks.catalogue.references import Source
from benchmarks.catalogue.sweeps import BOTH, DENSE, SWEEPS, TABLES, Settings, Sweep
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Method, Need
from compression.spec.presets import PRESETS
from compression.spec.recipe import fine_tune_step, parse_step, trains
from compression.spec.records import Part, Recipe, Step

PARTS = {"movielens": (TABLES, DENSE, BOTH), "log": (TABLES,), "quick": (TABLES, DENSE, BOTH), "crosses": (),
         "convolutions": (), "attention": ()}
RECIPES = "recipe"  # what stands for the method of a ready recipe
MOST = {"log": 4, "adult": 3, "criteo": 3, "criteo_indexed": 3}  # settings of each sweep: those that save most
TUNED_MOST = {"log": 2, "criteo_indexed": 1}  # of them, those that are tried with an epoch as well
QUICK_SETTINGS = 1  # of each sweep, in a quick run


def jobs_of(source: Source, *, quick: bool = False) -> Iterator[Job]:
    """What is tried on a dataset: every seed of every sweep, and of every control, whose part it has room for."""
    parts = PARTS.get(source.key, (DENSE,))
    sweeps = [sweep for sweep in all_sweeps() if sweep.method in METHODS
              and (sweep.only == source.key if sweep.only else sweep.on in parts)]
    controls = [control for control in CONTROLS.values() if control.on in parts or control.everywhere]
    for seed in source.seeds[:1] if quick else source.seeds:
        for control in controls:
            for value in control.values[:QUICK_SETTINGS] if quick else control.values:
                yield control_job(source, seed, control, value)
        for sweep in sweeps:
            for settings in sweep.settings[:QUICK_SETTINGS] if quick else sweep.settings[-MOST.get(source.key, 99):]:
                both = not quick and settings in sweep.settings[-TUNED_MOST.get(source.key, 99):]
                yield from sweep_jobs(source, seed, sweep, settings, both=both)
        if BOTH in parts and not quick and seed == source.seeds[0]:
            yield from ready_recipes(source, seed)


def ready_recipes(source: Source, seed: int) -> Iterator[Job]:
    """The recipes that the pages offer to start from, as they are."""
    for preset in PRESETS.values():
        recipe = preset.recipe.model_copy(update={"seed": seed})
        yield Job(dataset=source.key, seed=seed, series=f"recipe {recipe.name}", on=BOTH, method=RECIPES,
                  setting=preset.key, recipe=recipe, tuned=any(map(trains, recipe.steps)))


def control_job(source: Source, seed: int, control: Control, value: object) -> Job:
    return Job(dataset=source.key, seed=seed, series=control.name, on=control.on, method="", control=control.key,
               setting=control.label(value), value=value, tuned=control.trained)


def sweep_jobs(source: Source, seed: int, sweep: Sweep, settings: Settings, *, both: bool = True) -> Iterator[Job]:
    """The recipe without and with an epoch of fine-tuning, as the sweep says; without it alone where not `both`."""
    for tuned in {"never": (False,), "both": (False, True)[:1 + both], "always": (True,)}[sweep.tuned]:
        steps = [Step(method=method, params=params) for method, params in sweep.steps(settings)]
        steps = [step for step in steps if not trains(step)]
        if tuned:
            steps.insert(len(steps) - sweep.last, fine_tune_step(**source.fine_tune))
        steps += [Step(method=method, params=params) for method, params in sweep.after if method in METHODS]
        recipe = Recipe(name=sweep.name, seed=seed, steps=tuple(steps))
        yield Job(dataset=source.key, seed=seed, series=sweep.name, on=sweep.on, method=sweep.method,
                  setting=setting_text(settings), tuned=tuned, recipe=recipe)


def setting_text(settings: Settings) -> str:
    """The settings as a table shows them: "keep 0.5"."""
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in settings.items()) or "default"


def all_sweeps() -> list[Sweep]:
    """The table of sweeps, and every method that isn't in it at its default settings."""
    named = {sweep.method for sweep in SWEEPS}
    return [*SWEEPS, *(default_sweep(chosen) for key, chosen in METHODS.items() if key not in named)]


def default_sweep(chosen: Method) -> Sweep:
    tables = Part.EMBEDDING in chosen.parts
    on = BOTH if tables and len(chosen.parts) > 1 else TABLES if tables else DENSE
    return Sweep(chosen.key, on, tuned="always" if Need.FINE_TUNE in chosen.needs else "both")


def broken(sweeps: Iterable[Sweep] = SWEEPS) -> list[str]:
    """Methods of the table that there are not, and settings that their method refuses."""
    found = []
    for sweep in sweeps:
        if sweep.method not in METHODS:
            found.append(f"there is no method {sweep.method}")
            continue
        for settings in sweep.settings:
            try:
                for method, params in sweep.steps(settings):
                    parse_step(Step(method=method, params=params))
            except RecipeError as error:
                found.append(str(error))
    return found

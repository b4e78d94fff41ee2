"""What may come before or after what in a recipe, checked once from what methods declare.

Each rule looks at one step and the steps before and after it, and says why the order is wrong and what would fix it.
No rule knows a method by its key: see compression/spec/effects.py for the declarations they read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from compression.spec.effects import (
    DENSE,
    NO_PARTS,
    REPLACING,
    TABLES,
    TRAINING_FORMS,
    Effect,
    Effects,
    Parts,
)
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Fix, Method, Need, Params, Problem
from compression.spec.names import within
from compression.spec.records import Recipe, Step


@dataclass(frozen=True)
class Placed:
    """A step of a recipe with its place, its method and what it declares."""

    index: int
    method: Method
    effects: Effects

    @property
    def number(self) -> int:
        """As people count."""
        return self.index + 1

    @property
    def trains(self) -> bool:
        return self.method.trains

    def makes(self, effect: Effect) -> Parts:
        """Parts in which it makes the effect."""
        return self.effects.makes.get(effect, NO_PARTS)


def place(index: int, method: Method, params: Params) -> Placed:
    """A step for `problems`."""
    return Placed(index, method, method.effects_of(params))


@dataclass(frozen=True)
class _Found:
    problem: Problem
    other: Placed | None = None  # the step it is a problem with


Rule = Callable[[Placed, list[Placed], list[Placed]], Iterator[_Found]]


def problems(steps: Sequence[Placed]) -> list[Problem]:
    """The problems of order in a recipe, by step. For two steps only the most severe is reported."""
    found: list[Problem] = []
    reported: set[frozenset[int]] = set()
    for rule in RULES:
        for at, here in enumerate(steps):
            for one in rule(here, list(steps[:at]), list(steps[at + 1:])):
                pair = frozenset({here.index, one.other.index}) if one.other else None
                if pair not in reported:
                    found.append(one.problem)
                if pair:
                    reported.add(pair)
    return sorted(found, key=lambda problem: problem.step)


def fixed(recipe: Recipe, fix: Fix) -> Recipe:
    """The recipe with a problem's fix done."""
    steps = list(recipe.steps)
    if fix.action == "insert":
        steps.insert(fix.to, Step(method=fix.method))
    else:
        step = steps.pop(fix.step)
        if fix.action == "move":
            steps.insert(fix.to, step)
    return recipe.model_copy(update={"steps": tuple(steps)})


def training_key() -> str:
    """Key of the method that trains the model."""
    return next(key for key, method in METHODS.items() if method.trains)


def _another_model(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    if here.makes(Effect.OTHER_MODEL) and before:
        yield _error(here, f"{here.method.title} replaces the whole model, so what earlier steps did would be lost; "
                           "make it the first step.",
                     _remove(here) if before[0].makes(Effect.OTHER_MODEL) else _move(here, 0), before[0])


def _float_weights(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    """Codes are no float weights: what needs these comes before, and codes are made once."""
    for words, kind in (("dense layers", DENSE), ("tables", TABLES)):
        parts = here.effects.needs_float & kind
        earlier = _makers(before, Effect.CODES, parts)
        if not earlier:
            continue
        if here.makes(Effect.CODES) & parts:
            yield _error(here, f"{words.capitalize()} are already quantised by step {earlier[0].number}; keep one of "
                               "them.", _remove(here), earlier[0])
        else:
            yield _needs_float(here, earlier[0], words)


def _trainable(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    """A training passes through the dense layers, which it can't where they are frozen; tables lie below all others."""
    if not here.trains and Need.FINE_TUNE not in here.method.needs:
        return
    for other in before:
        trained = other.makes(Effect.ROUNDING) if _same_training(other, here, before) else NO_PARTS
        if (other.makes(Effect.FROZEN) - trained) & DENSE:
            yield _needs_float(here, other, "dense layers")
            return


def _one_form(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    """One training treats the weights of a layer in one way."""
    for form in TRAINING_FORMS:
        for other in before:
            for earlier_form, words in TRAINING_FORMS.items():
                if earlier_form is not form and here.makes(form) & other.makes(earlier_form) and _same_training(
                        other, here, before):
                    yield _error(here, f"Step {other.number} {words} in the next training, and step {here.number} "
                                       f"{TRAINING_FORMS[form]}, which can't be done at once; put a fine-tune step "
                                       "between the two.", _insert(training_key(), here.index), other)


def _training_after(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    if any(step.trains for step in after):
        return
    insert = _insert(training_key(), here.number)
    must = here.effects.needs_training or (
        f"{here.method.title} works during training" if Need.FINE_TUNE in here.method.needs else "")
    if must:
        yield _error(here, f"{must}: add a fine-tune step after it.", insert)
    elif here.effects.wants_training:
        yield _warning(here, f"{here.effects.wants_training}: add a fine-tune step after it.", insert)


def _left_waiting(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    """What waits to train layers finds others in their place."""
    for form in (Effect.BRANCHES, Effect.GATES):
        for step in after:
            if step.trains:
                break
            replaced = here.makes(form) & frozenset().union(*map(step.makes, REPLACING))
            if replaced and not step.makes(Effect.OTHER_MODEL):
                yield _warning(step, f"This step replaces layers that step {here.number} waits to train; put a "
                                     "fine-tune step between the two.", _insert(training_key(), step.index), here)


def _once(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    same = [step for step in before if here.effects.once and step.method is here.method]
    if same:
        yield _error(here, f"Step {same[0].number} does the same already; keep one of them.", _remove(here), same[0])


def _clashes(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    for effect, severity in here.effects.clashes.items():
        earlier = _makers(before, effect, here.makes(effect))
        if earlier:
            message = f"Step {earlier[0].number} makes {effect.value} already, as this step does; keep one of them."
            yield _Found(Problem(here.index, severity, message, _remove(earlier[0])), earlier[0])


def _row_counts(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    earlier = _makers(before, Effect.UNCOUNTED, here.effects.needs_counts)
    if earlier:
        yield _warning(here, "This step needs to know how often rows are read, which is not known after step "
                             f"{earlier[0].number}: tables that it changed stay as they are.", None, earlier[0])


def _undone(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    """The first step after it that destroys what it made, unless it is held, or stored as such before."""
    for effect, parts in here.effects.makes.items():
        for at, step in enumerate(after):
            lost = parts & step.effects.undoes.get(effect, NO_PARTS)
            if step.trains and lost:
                lost -= _held([*before, here, *after[:at]])
            if step.trains and lost:
                last = max(one.index for one in after if one.trains)
                yield _warning(step, f"This training loses {effect.value} of step {here.number} that nothing holds by "
                                     f"then; move step {here.number} right before the last training.",
                               _move(here, last - 1), here)
            elif lost:
                yield _warning(step, f"This step undoes the {effect.value} of step {here.number}; keep one of the two.",
                               _remove(here), here)
            parts = parts - lost - step.makes(Effect.SPARSE)


def _held(before: list[Placed]) -> Parts:
    """Parts whose zeros the training after these steps holds: a mask that is made already fits one shape."""
    fixed, growing = NO_PARTS, NO_PARTS
    for step in before:
        if step.trains:
            fixed = growing = NO_PARTS
        fixed = fixed - step.makes(Effect.SMALLER) | step.makes(Effect.MASKS)
        growing |= step.makes(Effect.GROWING)
    return fixed | growing


def _norms(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    later = [step for step in after if step.trains]
    if here.makes(Effect.NO_NORMS) and later:
        yield _warning(here, f"Step {later[0].number} trains without the BatchNorms that this step takes out; move it "
                             "behind the last fine-tune step.", _move(here, later[-1].index), later[0])


def _zeros_stored(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    parts = here.makes(Effect.ZEROS)
    if parts and not _makers(after, Effect.SPARSE, parts):
        end = after[-1].number if after else here.number
        yield _warning(here, f"{here.method.title} makes no file smaller: zeros are stored like other weights. Add "
                             "sparse storage after it, or prune channels or rows, or quantise.",
                       _insert_sparse(end))


def _sparse_last(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    parts = here.makes(Effect.SPARSE)
    later = [step for step in after if step.method.parts & parts and not (
        step.trains or step.makes(Effect.LOSS) or step.makes(Effect.SPARSE))]
    if later:
        yield _warning(here, f"Step {later[0].number} leaves sparsely stored layers as they are; move "
                             f"{within(here.method.title)} to the end.", _move(here, after[-1].index), later[0])


def _wants(here: Placed, before: list[Placed], after: list[Placed]) -> Iterator[_Found]:
    for want in here.effects.wants:
        met = (_now(step, effect, here, before) & want.parts for step in before for effect in want.effects)
        if not any(met):
            yield _warning(here, want.otherwise)


# the most severe first
RULES: tuple[Rule, ...] = (_another_model, _float_weights, _trainable, _one_form, _training_after, _once, _clashes,
                           _row_counts, _left_waiting, _undone, _norms, _zeros_stored, _sparse_last, _wants)


def _needs_float(here: Placed, other: Placed, words: str) -> _Found:
    return _error(here, f"{here.method.title} needs float weights, and step {other.number} has quantised the {words}; "
                        f"move it before step {other.number}.", _move(here, other.index), other)


def _makers(steps: Sequence[Placed], effect: Effect, parts: Parts) -> list[Placed]:
    return [step for step in steps if step.makes(effect) & parts]


def _same_training(earlier: Placed, here: Placed, steps: Sequence[Placed]) -> bool:
    """Whether no training lies between the two."""
    return not any(step.trains for step in steps if earlier.index <= step.index < here.index)


def _now(step: Placed, effect: Effect, here: Placed, before: list[Placed]) -> Parts:
    """Parts in which an effect of an earlier step is there; zeros that come while training are not, before it."""
    due = effect is Effect.ZEROS and _same_training(step, here, before)
    return step.makes(effect) - (step.makes(Effect.GROWING) if due else NO_PARTS)


def _insert_sparse(to: int) -> Fix | None:
    """Put the method there that stores zeros as such, where there is one."""
    for key, method in METHODS.items():
        with suppress(RecipeError):  # a plug-in may have a parameter without a default
            if method.effects_of(method.parse({})).makes.get(Effect.SPARSE):
                return _insert(key, to)
    return None


def _error(here: Placed, message: str, fix: Fix | None = None, other: Placed | None = None) -> _Found:
    return _Found(Problem(here.index, "error", message, fix), other)


def _warning(here: Placed, message: str, fix: Fix | None = None, other: Placed | None = None) -> _Found:
    return _Found(Problem(here.index, "warning", message, fix), other)


def _insert(method: str, to: int) -> Fix:
    return Fix("insert", to=to, method=method)


def _move(step: Placed, to: int) -> Fix:
    return Fix("move", step=step.index, to=to)


def _remove(step: Placed) -> Fix:
    return Fix("remove", step=step.index)

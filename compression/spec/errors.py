"""Every error RecPress raises on purpose, so that a caller can tell its own mistakes from ours.

    RecPressError
    ├── ModelError      a model file that can't be read, bound or trusted
    ├── DataError       a data file or description that can't be used
    ├── RecipeError     an unknown method, a bound broken, steps that conflict
    ├── ExportError     the exported file can't be written, or disagrees with torch
    ├── MeasureError    the exported file can't be run, or a metric isn't defined on these rows
    ├── StorageError    the database or the artifact store refused
    └── JobError        a job that can't go on: out of memory, disk full, cancelled
        └── Cancelled

A message says what, where, what was got, what is allowed, and the next step.
"""


class RecPressError(Exception):
    """Base of all errors whose message is meant for the person at the screen."""


class MissingEntry(RecPressError, KeyError):
    """A method, task, importer or runtime that isn't installed (any more)."""

    __str__ = RecPressError.__str__  # KeyError would put the sentence in quotes


class ModelError(RecPressError):
    """A model file that can't be read, bound or trusted."""


class DataError(RecPressError):
    """A data file or description that can't be used."""


class RecipeError(RecPressError):
    """An unknown method, a bound broken, or steps that conflict."""


class ExportError(RecPressError):
    """The exported file can't be written, or disagrees with torch."""


class MeasureError(RecPressError):
    """The exported file can't be run, or a metric isn't defined on these rows."""


class StorageError(RecPressError):
    """The database or the artifact store refused."""


class JobError(RecPressError):
    """A job that can't go on: out of memory, a full disk, a lost child."""


class Cancelled(JobError):
    """A person asked the job to stop."""

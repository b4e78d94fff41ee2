"""What a worker hands to the child process, and what the child says while it works."""

from __future__ import annotations

from pathlib import Path

from compression.spec.records import Failure, JobSpec, Progress, Record
from jobs.folder import EVENTS, INPUTS, LOG, OUTCOME, WORK

CACHE_BYTES = "step_cache_bytes"  # setting: how much the cache of steps may weigh


class Assignment(Record):
    """A job as its child process sees it: the spec, its inputs by digest, and where to work."""

    job: int
    name: str
    spec: JobSpec
    files: str  # root of the artifact store
    folder: str  # of the job, see jobs.folder; `work` below it survives a retry
    model_manifest: dict[str, str] | None = None
    data_manifest: dict[str, str] | None = None
    data_name: str = ""
    cache_bytes: int = 0  # limit of the cache of steps; 0 for none

    @property
    def work(self) -> Path:
        return Path(self.folder) / WORK

    @property
    def inputs(self) -> Path:
        return Path(self.folder) / INPUTS

    @property
    def outcome(self) -> Path:
        """What the work gave, once it is done."""
        return Path(self.folder) / OUTCOME

    @property
    def log(self) -> Path:
        return Path(self.folder) / LOG

    @property
    def events(self) -> Path:
        """TensorBoard's, of the trainings of this job; they stay with its log."""
        return Path(self.folder) / EVENTS

    @property
    def cache(self) -> Path:
        """The cache of steps, which the jobs of a home folder share."""
        return Path(self.files).parent / "steps"


class Said(Record):
    """A line on the channel from child to worker."""

    progress: Progress | None = None
    failure: Failure | None = None

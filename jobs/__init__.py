"""The job engine: submit, claim, run in a child process, save. `python -m jobs.worker` starts a worker."""

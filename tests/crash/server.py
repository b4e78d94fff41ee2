"""A server with workers and nothing else: `python -m tests.crash.server`. Killed by tests.crash."""

import threading

from jobs.supervise import supervised

with supervised(devices=["cpu"], worker_options=("--perform", "tests.jobs.fake:perform")):
    threading.Event().wait()

"""The environment of the processes that work on models and data: what they need, and nothing that is secret.

The app and its workers know the database's address with its password, and whatever else a service is given by its
environment. A job reads files that strangers made, and never opens the database: it is given a list of names, not all
but a few.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import jobs

KEPT = frozenset((
    "PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV", "XDG_CACHE_HOME", "SYSTEMROOT", "COMSPEC", "PATHEXT", "USERPROFILE", "LOCALAPPDATA"))
KEPT_PREFIXES = ("LC_", "PYTHON", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "POLARS_", "CUDA_", "CUBLAS_", "CUDNN_",
                 "NVIDIA_", "TORCH_", "PYTORCH_", "MALLOC_")
# how to reach the network, with the passwords of a proxy or a package index: for jobs that fetch something
NETWORK = frozenset((
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE"))
NETWORK_PREFIXES = ("PIP_",)
FETCHING = ("sample",)  # kinds of jobs
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
# threads that wait for the next operator spin for some microseconds and then sleep: spinning on costs several times the
# work itself beside a busy neighbour, and sleeping at once twice the time on an idle machine (docs/decisions/025).
# ONNX Runtime, which is what is timed, has threads of its own
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}


def job_environment(kind: str, *, threads: int, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a job's process. What the user set for threads that wait is left as it is."""
    kept = WAITING | plain_environment(given)
    if kind in FETCHING:
        kept |= _chosen(given, NETWORK, NETWORK_PREFIXES)
    return kept | dict.fromkeys(THREADS, str(threads))


def plain_environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Of an app's environment, what any of its processes may know; Python finds this program from any folder."""
    root = str(Path(jobs.__file__).parents[1])
    return _chosen(given, KEPT, KEPT_PREFIXES) | {
        "PYTHONPATH": os.pathsep.join(filter(None, [root, given.get("PYTHONPATH")])), "PYTHONUNBUFFERED": "1"}


def _chosen(given: Mapping[str, str], names: Iterable[str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in given.items()
            if name.upper() in names or name.upper().startswith(prefixes)}

"""What a job is told of the app's environment: each name has its reason, and nothing else comes through."""

from __future__ import annotations

import os

import pytest

from jobs.environment import job_environment, plain_environment
from jobs.perform import KINDS
from tests.test_imports import ROOT

NEEDED = ("PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH",
          "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "XDG_CACHE_HOME", "SYSTEMROOT", "COMSPEC", "PATHEXT", "USERPROFILE",
          "LOCALAPPDATA", "LC_ALL", "PYTHONHASHSEED", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY",
          "MKL_CBWR", "OPENBLAS_CORETYPE", "POLARS_VERBOSE", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
          "CUDNN_LOGINFO_DBG", "NVIDIA_TF32_OVERRIDE", "TORCH_HOME", "PYTORCH_ALLOC_CONF", "MALLOC_ARENA_MAX")
NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
           "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_INDEX_URL", "PIP_CERT")
SECRET = ("DATABASE_URL", "RECPRESS_HOME", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "STREAMLIT_SECRET")
GIVEN = {name: f"the {name}" for name in (*NEEDED, *NETWORK, *SECRET)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_is_told_what_it_needs_and_the_network_only_where_it_fetches(kind):
    found = job_environment(kind, threads=3, given=GIVEN)
    told = {name for name, value in found.items() if GIVEN.get(name) == value}
    assert told == {*NEEDED, *(NETWORK if kind == "sample" else ())}


def test_names_count_whatever_their_case():
    found = job_environment("sample", threads=1, given={"https_proxy": "p", "path": "/bin", "pip_index_url": "i"})
    assert (found["https_proxy"], found["path"], found["pip_index_url"]) == ("p", "/bin", "i")


def test_every_library_is_told_the_same_number_of_threads_whatever_the_app_was_told():
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
    found = job_environment("run", threads=3, given=dict.fromkeys(names, "64"))
    assert [found[name] for name in names] == ["3"] * 4


def test_threads_spin_shortly_and_then_sleep_unless_the_user_says_otherwise():
    waiting = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
    assert job_environment("run", threads=1, given={}).items() >= waiting.items()
    given = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "7", "KMP_BLOCKTIME": "9"}
    assert job_environment("run", threads=1, given=given).items() >= given.items()


def test_python_finds_this_program_and_what_the_user_added_and_writes_its_log_at_once():
    alone, beside = plain_environment({}), plain_environment({"PYTHONPATH": "/plug-ins"})
    assert (alone["PYTHONPATH"], alone["PYTHONUNBUFFERED"]) == (str(ROOT), "1")
    assert beside["PYTHONPATH"] == os.pathsep.join((str(ROOT), "/plug-ins"))

"""Which workers a machine gets, told without torch."""

import pytest

from jobs import devices


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(devices, "_gpus", lambda: ["0", "1"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_machine_without_a_gpu_gets_one_cpu_worker(monkeypatch):
    monkeypatch.setattr(devices, "_gpus", list)
    assert devices.worker_devices() == ["cpu"]


def test_each_gpu_gets_a_worker_that_sees_it_alone(two_gpus):
    assert devices.worker_devices() == ["cuda:0", "cuda:1"]
    assert devices.device_environment("cuda:1") == {"CUDA_VISIBLE_DEVICES": "1"}


@pytest.mark.parametrize(("limit", "expected"), [("1", ["1"]), ("", []), ("-1", []), ("0,7,1", ["0"]),
                                                ("GPU-5c1f", ["GPU-5c1f"])])
def test_gpus_hidden_from_the_app_are_hidden_from_its_workers(two_gpus, monkeypatch, limit, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", limit)
    assert devices.visible_gpus() == expected


def test_a_cpu_worker_hides_every_gpu(two_gpus):
    assert devices.device_environment("cpu") == {"CUDA_VISIBLE_DEVICES": "-1"}

"""The settings that our Triton backend gives OpenVINO, by the model's configuration and the CPU quota."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BACKEND = Path(__file__).resolve().parents[2] / "deploy" / "triton" / "backends" / "openvino" / "model.py"


@pytest.fixture
def config_of(monkeypatch, tmp_path):
    """Return a function: OpenVINO's settings on a machine with 8 cores, for a quota and a configuration."""
    (tmp_path / "manifest.json").write_text('{"precision": "int8"}')
    cores = ModuleType("cores")
    cores.allowed_cores = lambda: 8
    monkeypatch.setitem(sys.modules, "cores", cores)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))

    def one(quota=8, instances=2, device="CPU", **parameters):
        cores.usable_cores = lambda: quota
        spec = importlib.util.spec_from_file_location("openvino_backend", BACKEND)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.engine_config(tmp_path, parameters, device, instances)

    return one


def test_threads_are_not_pinned_unless_the_configuration_says_so(config_of):
    assert config_of() == {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}
    assert config_of(ENABLE_CPU_PINNING="YES")["ENABLE_CPU_PINNING"] == "YES"


@pytest.mark.parametrize(
    ("quota", "instances", "threads"), [(6, 2, "3"), (5, 2, "2"), (7, 1, "7"), (2, 4, "1")]
)
def test_instances_share_a_quota(config_of, quota, instances, threads):
    assert config_of(quota, instances)["INFERENCE_NUM_THREADS"] == threads
    assert config_of(quota, instances, INFERENCE_NUM_THREADS="4")["INFERENCE_NUM_THREADS"] == "4"


def test_a_device_other_than_the_cpu_gets_no_settings_of_the_cpu(config_of):
    assert config_of(quota=2, device="NPU") == {}

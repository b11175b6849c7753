"""On a real server, the instances of an OpenVINO model leave each other's cores alone."""

import shutil
import threading

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from service.artifact.manifest import parse_manifest
from tests.affinity import ALL, cores_seen
from tests.triton_server import ROOT, start_triton
from training.export.targets.triton_options import TritonOptions
from training.export.triton.config import write_all_configs

pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="with one core, a pinned thread looks like any other")


@pytest.mark.parametrize("pinned", [False, True])
def test_threads_may_run_on_every_core_unless_they_are_to_be_pinned(tmp_path, pinned):
    shutil.copytree(ROOT / "model_repository" / "starter-openvino", tmp_path / "starter-openvino")
    write_all_configs(tmp_path, TritonOptions(instances=2, threads=1, pin_threads=pinned))
    folder = tmp_path / "starter-openvino" / "1"
    manifest = parse_manifest((folder / "manifest.json").read_bytes(), str(folder))
    feed = manifest.feed(np.load(folder / "golden.npz")["input"], {})
    with start_triton(tmp_path, load=["starter-openvino"]) as server:
        assert len(server.stub_pids()) == 2

        def call():
            with grpcclient.InferenceServerClient(server.grpc_url) as client:
                tensors = []
                for row in manifest.inputs:
                    kind = {"u8": "UINT8", "i64": "INT64", "f32": "FP32"}[row.dtype]
                    tensors.append(grpcclient.InferInput(row.name, list(feed[row.name].shape), kind))
                    tensors[-1].set_data_from_numpy(feed[row.name])
                for _ in range(5):
                    client.infer("starter-openvino", tensors)

        def call_both():
            callers = [threading.Thread(target=call) for _ in range(4)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()

        seen = cores_seen(server.stub_pids(), call_both, seconds=2.0)
    assert ALL in seen
    assert (seen != {ALL}) == pinned

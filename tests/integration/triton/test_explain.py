"""`explain=route` works with a real Triton, and gives the same map as OpenVINO in the gateway's process."""

import numpy as np
import pytest

from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.test_explain import RED_CORNER, explained
from tests.integration.triton.test_gateway import wait_for, write_version
from tests.triton_server import start_triton

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("shared_memory", [False, True], ids=["in the message", "in shared memory"])
def test_triton_gives_the_same_map_as_openvino(tmp_path, shared_memory):
    write_version(tmp_path)
    with start_triton(tmp_path) as server:
        triton = {"url": server.grpc_url, "refresh_s": 0.3, "shared_memory": shared_memory}
        with serve(
            backends=("triton", "openvino"), repository=tmp_path, triton=triton, explain=True
        ) as gateway:
            assert wait_until_ready(gateway).status_code == 200
            wait_for(lambda: gateway.detect(RED_CORNER, backend="triton").status_code == 200)
            ways = {
                name: explained(gateway, RED_CORNER, backend=name, timeout_ms=60_000)["explanation"]
                for name in ("triton", "openvino")
            }
    assert ways["triton"]["runs"] == ways["openvino"]["runs"]
    for one, two in zip(ways["triton"]["layers"], ways["openvino"]["layers"], strict=True):
        assert np.allclose(one["effects"], two["effects"], atol=1e-3)
        assert one["expert"] == two["expert"]

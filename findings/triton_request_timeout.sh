#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): a request's own queue timeout can shorten the model's timeout, but not extend
# it. A timeout under half a second is not kept.
#
# A queue policy may have `default_timeout_microseconds: 2000000` and `allow_timeout_override: true`. One would expect a
# timeout of two seconds, unless a request sets another one. This script keeps the model's only instance busy for three
# seconds, and shows:
#   - A request with a timeout of 0.1 s is refused after 0.6 to 1 s. Triton checks the queue every half second, counted
#     from the moment when the instance became busy. It does not refuse a request at the first check.
#   - A request with a timeout of 10 s is refused at the first check after the model's 2 s.
#
# The script printed "asked 0.1 s: refused after 0.80 s", "asked 0.3 s: refused after 0.80 s" and "asked 10 s: refused
# after 2.30 s". It fails if a short timeout is kept, or if a long one is granted.
# It needs Linux, x86-64, Python 3.9 to 3.12 with libpython.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
  nvidia-pytriton==0.7.0 numpy==1.26.4
mkdir -p "$folder/models/slow/1"
cat >"$folder/models/slow/config.pbtxt" <<'CONFIG'
name: "slow"
backend: "python"
max_batch_size: 1
input { name: "seconds" data_type: TYPE_FP32 dims: 1 }
output { name: "done" data_type: TYPE_FP32 dims: 1 }
instance_group { count: 1 kind: KIND_CPU }
dynamic_batching {
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 2000000
    allow_timeout_override: true
  }
}
CONFIG
cat >"$folder/models/slow/1/model.py" <<'MODEL'
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            seconds = pb_utils.get_input_tensor_by_name(request, "seconds").as_numpy()
            time.sleep(float(seconds[0, 0]))
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("done", seconds)]))
        return answers
MODEL
cat >"$folder/ask.py" <<'PYTHON'
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

folder = Path(sys.argv[1])
site_packages = next(folder.glob("venv/lib/python*/site-packages"))
wheel = site_packages / "pytriton" / "tritonserver"
python = folder / "backends" / "python"
python.mkdir(parents=True)
version = f"{sys.version_info.major}.{sys.version_info.minor}"
shutil.copy(wheel / "python_backend_stubs" / version / "triton_python_backend_stub", python)
for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
    shutil.copy(wheel / "backends" / "python" / name, python)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
prefix = f"queue-timeout-{secrets.token_hex(4)}"
libraries = f"{sysconfig.get_config_var('LIBDIR')}:{site_packages / 'nvidia_pytriton.libs'}"
environment = {
    **os.environ,
    "LD_LIBRARY_PATH": libraries,
    "PATH": f"{folder / 'venv/bin'}:{os.environ['PATH']}",
    "VIRTUAL_ENV": str(folder / "venv"),
}
server = subprocess.Popen(
    [
        wheel / "bin" / "tritonserver",
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--pinned-memory-pool-byte-size=0",
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
    ],
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
    start_new_session=True,
)
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def infer(seconds, timeout_s=None):
    """Return the seconds until the answer, and the answer's text."""
    body = {"inputs": [{"name": "seconds", "datatype": "FP32", "shape": [1, 1], "data": [seconds]}]}
    if timeout_s is not None:
        body["parameters"] = {"timeout": round(timeout_s * 1e6)}
    url = f"http://127.0.0.1:{port}/v2/models/slow/infer"
    began = time.monotonic()
    try:
        with direct.open(urllib.request.Request(url, json.dumps(body).encode()), timeout=30):
            return time.monotonic() - began, "answered"
    except urllib.error.HTTPError as error:
        return time.monotonic() - began, json.loads(error.read())["error"]


def ready():
    try:
        with direct.open(f"http://127.0.0.1:{port}/v2/models/slow/ready", timeout=1):
            return True
    except OSError:
        return False


def while_busy(timeout_s):
    busy = threading.Thread(target=infer, args=(3.0,))
    busy.start()
    time.sleep(0.2)  # the instance is busy now
    found = infer(0.0, timeout_s)
    busy.join()
    return found


try:
    for _ in range(600):
        if ready():
            break
        time.sleep(0.1)
    infer(0.0)
    waited = {}
    for asked_s in (0.1, 0.3, 10.0):
        waited[asked_s], answer = while_busy(asked_s)
        print(f"asked {asked_s:g} s: refused after {waited[asked_s]:.2f} s: {answer}")
        assert "timeout expired" in answer, answer
    assert waited[0.1] > 0.5, "a short timeout is kept now"
    assert waited[0.3] > 0.5, "a short timeout is kept now"
    assert waited[10.0] < 2.8, "a long timeout is granted now"  # the instance is free after 2.8 s
finally:
    os.killpg(server.pid, signal.SIGKILL)
    for leftover in Path("/dev/shm").glob(f"{prefix}*"):
        leftover.unlink()
PYTHON
python3 "$folder/ask.py" "$folder"

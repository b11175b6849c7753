#!/usr/bin/env bash
# Triton 2.51.0 (nvidia-pytriton 0.7.0): the HTTP endpoint compresses answers with gzip for every client that accepts
# gzip. It also compresses tensors, and then an answer takes many times as long.
#
# Common HTTP clients send `Accept-Encoding: gzip, deflate` by default. One would expect that a server of tensors
# compresses only if a setting says so, or never for `application/octet-stream`. Triton does otherwise, as this script
# shows with an answer of 4 MB of float32 noise in the protocol's binary extension. If the client accepts gzip, the
# answer has `Content-Encoding: gzip`, is hardly smaller, and takes more than ten times as long. To avoid this, send
# `Accept-Encoding: identity`.
#
# The script printed "identity: 4.00 MB, 4.7 ms", "gzip: 3.70 MB, 106.3 ms", "gzip takes 23 times as long". It fails if
# Triton no longer compresses, or if a compressed answer takes at most three times as long.
# It needs Linux, x86-64, Python 3.9 to 3.12 with libpython.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
  nvidia-pytriton==0.7.0 numpy==1.26.4
mkdir -p "$folder/models/noise/1"
cat >"$folder/models/noise/config.pbtxt" <<'CONFIG'
name: "noise"
backend: "python"
max_batch_size: 0
input { name: "count" data_type: TYPE_INT32 dims: 1 }
output { name: "values" data_type: TYPE_FP32 dims: -1 }
instance_group { count: 1 kind: KIND_CPU }
CONFIG
cat >"$folder/models/noise/1/model.py" <<'MODEL'
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.values = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)

    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("values", self.values)]) for _ in requests]
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
prefix = f"gzip-answers-{secrets.token_hex(4)}"
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


def infer(accepted):
    """Return the seconds until the answer, its size in bytes, and its content encoding."""
    asked = {
        "inputs": [{"name": "count", "datatype": "INT32", "shape": [1], "data": [1]}],
        "outputs": [{"name": "values", "parameters": {"binary_data": True}}],
    }
    headers = {"Accept-Encoding": accepted}
    url = f"http://127.0.0.1:{port}/v2/models/noise/infer"
    began = time.monotonic()
    with direct.open(urllib.request.Request(url, json.dumps(asked).encode(), headers), timeout=30) as answer:
        body = answer.read()
        return time.monotonic() - began, len(body), answer.headers.get("Content-Encoding", "none")


def ready():
    try:
        with direct.open(f"http://127.0.0.1:{port}/v2/models/noise/ready", timeout=1):
            return True
    except OSError:
        return False


try:
    for _ in range(600):
        if ready():
            break
        time.sleep(0.1)
    infer("identity")
    seconds = {"identity": [], "gzip": []}
    for _ in range(7):
        for accepted in seconds:
            took_s, size, encoding = infer(accepted)
            seconds[accepted].append(took_s)
            assert encoding == {"identity": "none", "gzip": "gzip"}[accepted], encoding
            if len(seconds[accepted]) == 7:
                print(f"{accepted}: {size / 1e6:.2f} MB, {sorted(seconds[accepted])[3] * 1e3:.1f} ms")
    ratio = sorted(seconds["gzip"])[3] / sorted(seconds["identity"])[3]
    print(f"gzip takes {ratio:.0f} times as long")
    assert ratio > 3, "compression hardly costs anything now"
finally:
    os.killpg(server.pid, signal.SIGKILL)
    for leftover in Path("/dev/shm").glob(f"{prefix}*"):
        leftover.unlink()
PYTHON
python3 "$folder/ask.py" "$folder"

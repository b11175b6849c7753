"""`python -m service` as an operator meets it: sentences, exit codes, signals."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.builders import build_artifact, golden_image, image_bytes

ROOT = Path(__file__).parents[3]


def command(**environment):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SPARSIGHT_") and name not in {"HOST", "PORT"}
    }
    return {
        "args": [sys.executable, "-m", "service"],
        "env": inherited | {name: str(value) for name, value in environment.items()},
        "cwd": ROOT,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def fails(code, words, **environment):
    ended = subprocess.run(**command(**environment), check=False, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert words in ended.stderr.splitlines()[-1]


def test_it_says_when_it_is_ready_and_ends_well_when_told_to(repository):
    with subprocess.Popen(**command(SPARSIGHT_REPOSITORY=repository, PORT=0)) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if "ready: open" in line:
                break
        url = said[-1].split()[-1]
        assert any("tiny version 1 loaded, golden sample reproduced" in line for line in said)
        image = image_bytes(golden_image())
        with httpx.Client(trust_env=False) as client:
            assert client.post(f"{url}detect", content=image).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(timeout=30) == 0


def test_a_repository_that_is_not_there_is_one_sentence(tmp_path):
    fails(
        1,
        "missing is not a folder; set SPARSIGHT_REPOSITORY",
        SPARSIGHT_REPOSITORY=tmp_path / "missing",
        PORT=0,
    )


def test_an_altered_file_is_one_sentence(tmp_path):
    built = build_artifact(tmp_path)
    (built.folder / "model.bin").write_bytes(b"other")
    fails(1, "model.bin has sha256", SPARSIGHT_REPOSITORY=tmp_path, PORT=0)


def test_a_port_in_use_is_one_sentence(repository):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fails(1, f"cannot listen on 127.0.0.1:{port}", SPARSIGHT_REPOSITORY=repository, PORT=port)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PORT": "eighty"}, "PORT='eighty' cannot be used"),
        ({"SPARSIGHT_WORKERS": "0"}, "SPARSIGHT_WORKERS='0' cannot be used"),
        ({"SPARSIGHT_REPOSITROY": "x"}, "did you mean SPARSIGHT_REPOSITORY?"),
        ({"SPARSIGHT_OPENVINO__THREADS": "-1"}, "SPARSIGHT_OPENVINO__THREADS='-1' cannot be used"),
    ],
)
def test_a_bad_setting_is_one_sentence(environment, words):
    fails(2, words, **environment)


def test_help_lists_the_settings():
    arguments = command() | {"args": [sys.executable, "-m", "service", "--help"]}
    told = subprocess.run(**arguments, stdout=subprocess.PIPE, check=True).stdout
    for name in ("SPARSIGHT_REPOSITORY", "SPARSIGHT_MAX_PIXELS", "SPARSIGHT_OPENVINO__CACHE_DIR", "PORT"):
        assert name in told

"""`pip install .` gives a caller `sparsight_client` and the command, and nothing else of this project."""

import json
import sys
import zipfile

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks for a POSIX environment")


def test_the_wheel_holds_the_client_alone(installed):
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"sparsight_client"}
    assert {"sparsight_client/py.typed", "sparsight_client/tasks/detect.py"} <= set(names)
    needs = {line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")}
    plain = {need for need in needs if "extra ==" not in need}
    assert plain == {"httpx", "numpy", "opencv-python-headless", "pillow>=12.3", "simplejpeg", "tabulate"}


def test_the_package_detects_at_a_real_service(installed, served, photo, tmp_path):
    script = (
        "from pathlib import Path; from sparsight_client import RestClient\n"
        f"with RestClient({served.url!r}) as client:\n"
        f"    print(client.detect(Path({str(photo)!r}).read_bytes()).class_names)\n"
        "import importlib.util as u\n"
        "print([name for name in ('clients', 'service', 'training') if u.find_spec(name)])\n"
    )
    done = installed.python(script, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "('red',)\n[]\n"


def test_the_command_detects_at_a_real_service(installed, served, photo, tmp_path):
    done = installed.command("detect", photo.name, "--url", served.url, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["predictions"][0]["class"] == "red"
    done = installed.command("detect", photo.name, "--url", served.url, cwd=tmp_path)
    assert "backbone.p4" in done.stdout
    failed = installed.command("detect", photo.name, "--url", served.url, "--model", "other", cwd=tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "sparsight: there is no model 'other'; the models are tiny\n"


def test_the_command_calls_itself_by_its_name(installed, tmp_path):
    done = installed.command("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: sparsight-client ")
    assert "\n  sparsight-client detect photo.jpg\n" in done.stdout

"""Test our Docker images without a container engine: `python deploy/docker/dry_build.py`.

The script reads each Dockerfile and runs its RUN instructions in a scratch folder. It uses the Python that
runs the script, and only the files that the Dockerfile copies. Then it checks the result, for example by
starting the service. At the end it lists what it cannot check. It needs Linux, ldd and the package index.
"""
# ruff: noqa: T201 - a command line tool

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "app",
    "build",
    "opt",
    "venv",
)  # top-level folders of the images; the scratch folder holds a copy of each
# The Python version of each image, for which pip must find wheels.
PYTHON_OF = {"gateway": "3.13", "training": "3.13", "triton": "3.12"}
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(17, 37)] + ["manylinux2014_x86_64"]
# Libraries in Debian's packages libc, libstdc++, libgcc and zlib, which every slim image contains.
BASE_LIBRARIES = re.compile(
    r"(ld-linux-x86-64|libc|libdl|libgcc_s|libm|libpthread|librt|libstdc\+\+|libutil|libz|libresolv)\.so\.\d+"
)
FOR_OTHER_DEVICES = re.compile("_(gpu|npu)_")  # OpenVINO loads them only on a machine with such a device
NOT_CHECKED = "the base image itself, its own Python, the user, the read-only file system"


class BuildFailed(Exception):
    """The image cannot be built, or would not work; the message says why."""


@dataclass
class Image:
    """The settings in a Dockerfile; its absolute paths are replaced by paths in a scratch folder."""

    scratch: Path
    workdir: Path
    environment: dict[str, str] = field(default_factory=dict)
    healthcheck: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def inside(self, text: str) -> str:
        """Return `text` with the image's absolute paths replaced by paths in the scratch folder."""
        return re.sub(rf"(?<![\w.}}/])/({'|'.join(FOLDERS)})(?=[/\s:\"']|$)", rf"{self.scratch}/\1", text)


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return the keyword and argument of each instruction in a Dockerfile's text.

    Continued lines are joined, and comments are dropped.
    """
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines()]


def build(name: str, scratch: Path, *, resolve_only: bool) -> Image:
    """Run a Dockerfile's instructions in the scratch folder, and return the image's settings.

    With `resolve_only`, pip only builds our own package, and installs nothing.
    """
    image = Image(scratch, scratch)
    for keyword, argument in instructions((ROOT / "deploy" / "docker" / f"{name}.Dockerfile").read_text()):
        match keyword:
            case "WORKDIR":
                image.workdir = Path(image.inside(argument))
                image.workdir.mkdir(parents=True, exist_ok=True)
            case "COPY" if not argument.startswith("--from"):
                copy(image, shlex.split(argument))
            case "ENV":
                image.environment |= dict(pair.split("=", 1) for pair in shlex.split(image.inside(argument)))
            case "RUN":
                run_instruction(image, argument, resolve_only=resolve_only)
            case "HEALTHCHECK":
                image.healthcheck = json.loads(argument.partition("CMD ")[2])
            case "CMD":
                image.command = json.loads(argument)
    return image


def copy(image: Image, names: Sequence[str]) -> None:
    """Copy files from the project as the instruction COPY does; `names` are its arguments."""
    *sources, target = names
    into = image.workdir / image.inside(target)
    for source in sources:
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            file = into / path.name if into.is_dir() or target.endswith("/") else into
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, file)


def run_instruction(image: Image, command: str, *, resolve_only: bool) -> None:
    """Run a RUN instruction in the scratch folder, with the Python that runs this script."""
    tools = image.scratch / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("python", "python3"):
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        (tools / name).chmod(0o755)
    if resolve_only:
        command = command.replace("pip install", "pip install --dry-run --no-deps")  # checked separately
    kept = {key: os.environ[key] for key in os.environ if key != "PYTHONPATH"}
    path = {"PATH": f"{tools}:{os.environ['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "2"}
    done = subprocess.run(
        ["/bin/sh", "-ec", image.inside(command)], cwd=image.workdir, env=kept | path, check=False
    )
    if done.returncode:
        raise BuildFailed(f"RUN {command} ended with exit code {done.returncode}")


def resolve_for_the_image(name: str) -> None:
    """Check that every package has a wheel for the image's Python, because the image has no compiler."""
    text = (ROOT / "deploy" / "docker" / f"{name}.Dockerfile").read_text()
    wanted = re.findall(r"[\w-]+==[\w.]+", text)
    options = ["--no-deps"]
    if extras := re.search(r"\.\[([\w,]+)\]", text):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        wanted = project["dependencies"] + [
            package for extra in extras[1].split(",") for package in project["optional-dependencies"][extra]
        ]
        options = ["--constraint", str(ROOT / "constraints.txt")]
    options += [f"--platform={platform}" for platform in PLATFORMS]
    options += [f"--python-version={PYTHON_OF[name]}", "--implementation=cp", "--only-binary=:all:"]
    options += ["--dry-run", "-qq", "--disable-pip-version-check", "--target", tempfile.gettempdir()]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *options, *wanted], check=False)
    if done.returncode:
        raise BuildFailed(f"not every package has a wheel for Python {PYTHON_OF[name]}")


def check_libraries(folder: Path) -> int:
    """Check that the dependencies of each shared library are in the folder or in a slim image.

    Return the number of checked libraries.
    """
    files = [path for path in folder.rglob("*.so*") if path.is_file() and not path.is_symlink()]
    shipped = {path.name for path in files}  # a library also finds libraries that another one has loaded
    libraries = [path for path in files if not FOR_OTHER_DEVICES.search(path.name)]
    for library in libraries:
        done = subprocess.run(["ldd", library], capture_output=True, text=True, check=False)
        for needed, found in re.findall(r"^\s+(\S+) => (\S+|not found)", done.stdout, re.MULTILINE):
            inside = Path(found).is_relative_to(folder) or needed in shipped
            if not inside and not BASE_LIBRARIES.fullmatch(needed):
                raise BuildFailed(f"{library.relative_to(folder)} needs {needed}, which a slim image lacks")
    return len(libraries)


def check_pins(folder: Path) -> None:
    """Check that constraints.txt pins every installed package, including indirect dependencies."""
    pinned = {normal(pin) for pin in (ROOT / "constraints.txt").read_text().splitlines()}
    installed = [
        f"{package.name}=={package.version}" for package in metadata.distributions(path=[str(folder)])
    ]
    loose = [pin for pin in installed if normal(pin) not in pinned and not pin.startswith("sparsight==")]
    if loose:
        raise BuildFailed(f"constraints.txt does not pin {', '.join(sorted(loose))}")


def normal(pin: str) -> str:
    """Return a pin with its package name normalised: lower case, with a hyphen for each separator."""
    name, equals, version = pin.partition("==")
    return re.sub("[-_.]+", "-", name).lower() + equals + version


def check_gateway(image: Image) -> None:
    """Start the service from the copied files, send it requests, run its health check, and stop it."""
    python = image.scratch / "venv" / "bin" / "python"
    for module in ("torch", "pip", "setuptools", "training"):
        done = subprocess.run(
            [python, "-c", f"import {module}"], cwd=image.workdir, capture_output=True, check=False
        )
        if done.returncode == 0:
            raise BuildFailed(f"{module} can be imported in the serving image")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SPARSIGHT_REPOSITORY": str(ROOT / "model_repository"),
        "SPARSIGHT_BACKENDS": "triton,openvino",  # as in docker-compose.yml; no server is at Triton's address
        "SPARSIGHT_TRITON__URL": "127.0.0.1:1",
    }
    environment = {**image.environment, **given, "PATH": f"{python.parent}:/usr/bin:/bin"}
    process = subprocess.Popen(image.command, cwd=image.workdir, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/readyz", process)
        with urllib.request.urlopen(f"{url}/models", timeout=20) as answer:
            print(f"   serves {[model['name'] for model in json.load(answer)['models']]}")
        health = [argument.replace(":8000", f":{port}") for argument in image.healthcheck]
        if subprocess.run(health, env=environment, cwd=image.workdir, check=False).returncode:
            raise BuildFailed("the HEALTHCHECK fails on a healthy service")
        process.send_signal(signal.SIGTERM)
        if code := process.wait(timeout=40):
            raise BuildFailed(f"the service ended with exit code {code} after SIGTERM")
    finally:
        process.kill()
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], within_s: float = 120) -> None:
    """Request `url` until the status is 200; raise BuildFailed if the process ends or time runs out."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BuildFailed(f"the service ended with exit code {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise BuildFailed(f"{url} did not answer with 200 within {within_s:g} s")


def check_triton(image: Image) -> None:
    """Check that the packages of our Triton backend can be imported, and that its files are in place."""
    folder = image.environment["PYTHONPATH"]
    script = "import numpy, openvino; print('   numpy', numpy.__version__, 'openvino', openvino.__version__)"
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": folder}, check=False)
    if done.returncode:
        raise BuildFailed("the packages of the Triton image cannot be imported")
    backend = image.scratch / "opt/tritonserver/backends/openvino"
    if not all((backend / name).is_file() for name in ("model.py", "cores.py")):
        raise BuildFailed("the files of our backend are not where Triton looks for them")


def dry_build(name: str, scratch: Path) -> None:
    """Build one image without a container engine, and check the result."""
    print(f"== {name}: wheels for Python {PYTHON_OF[name]}", flush=True)
    resolve_for_the_image(name)
    print(f"== {name}: running its instructions", flush=True)
    image = build(name, scratch, resolve_only=name == "training")
    if name != "training":
        print(f"== {name}: {check_libraries(scratch)} shared libraries find what they need", flush=True)
    match name:
        case "gateway":
            check_pins(next(scratch.glob("venv/lib/python*/site-packages")))
            check_gateway(image)
        case "triton":
            check_triton(image)


def main(argv: Sequence[str] | None = None) -> int:
    """Build and check the named images, or all images; return 1 if an image would not work, otherwise 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "images", nargs="*", choices=[*PYTHON_OF, []], help=f"{', '.join(PYTHON_OF)} (default: all images)"
    )
    args = parser.parse_args(argv)
    for name in args.images or PYTHON_OF:
        with tempfile.TemporaryDirectory(prefix=f"sparsight-{name}-") as scratch:
            try:
                dry_build(name, Path(scratch).resolve())
            except BuildFailed as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
    print(f"not checked: {NOT_CHECKED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

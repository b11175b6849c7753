"""Builds the wheel of the client and installs it into an empty environment, without a network."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")


@dataclass(frozen=True)
class InstalledClient:
    """A Python environment that contains the client and nothing else of this project."""

    wheel: Path
    bin: Path

    def python(self, script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a Python script with `cwd`, a folder outside of the checkout, as working folder."""
        return _run([self.bin / "python", "-c", script], cwd)

    def command(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run the command `sparsight-client`."""
        return _run([self.bin / "sparsight-client", *arguments], cwd)


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy, which keeps the checkout clean; needs setuptools in this environment."""
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "clients", source / "clients", ignore=ignored)
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    done = subprocess.run([*pip, "wheel", *options, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_client(folder: Path) -> InstalledClient:
    """Install the wheel into a new environment that uses the libraries of the running environment."""
    wheel, environment = build_wheel(folder), folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    scripts = environment / "bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", scripts / "python"]
    done = subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", wheel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = environment.glob("lib/python*/site-packages")
    # A .pth file adds only this path, so Python does not find packages that are installed as editable.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return InstalledClient(wheel, scripts)


def _run(command: list[object], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )

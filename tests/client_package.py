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
    """An environment in which there is the client and nothing else of this project."""

    wheel: Path
    bin: Path

    def python(self, script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a script in a folder that holds nothing of the checkout."""
        return _run([self.bin / "python", "-c", script], cwd)

    def command(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run the console script."""
        return _run([self.bin / "sparsight-client", *arguments], cwd)


def build_wheel(folder: Path) -> Path:
    """Build from a copy, so that nothing is left behind in the checkout; needs setuptools here."""
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
    """Install the wheel; the libraries it needs are those of the running environment."""
    wheel, environment = build_wheel(folder), folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    scripts = environment / "bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", scripts / "python"]
    done = subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", wheel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (packages,) = environment.glob("lib/python*/site-packages")
    # A path alone: what the running environment has as editable is not found through it.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return InstalledClient(wheel, scripts)


def _run(command: list[object], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )

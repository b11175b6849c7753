"""Two versions of the project side by side, what the older one makes, and how both are run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from tests.labelled_scenes import write_coco

NEW = Path(__file__).resolve().parents[2]
BEFORE = "d5fe71ffc27bf820d4a05f0d109ca004caf3217b"
"""The last commit of the version before."""

SETTING = re.compile(r"^  (SPARSIGHT_\w+)  \(default: (.*)\)$", re.MULTILINE)
_SIDE = 64
_DATA = ("--hold-out", "0.25", "--quiet")
_NETWORK = ("--variant", "esmoe-n", "--experts", "2", "--top-k", "1", "--placement", "backbone")


def why_not(commit: str) -> str | None:
    """Return why a commit cannot be compared with; None if it can."""
    found = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=NEW, capture_output=True, check=False
    )
    return (
        None
        if found.returncode == 0
        else f"the commit {commit} is not in this clone; fetch the whole history"
    )


class Versions:
    """The tree of a commit, and this one; what the older version makes is made when first used."""

    def __init__(self, commit: str, folder: Path) -> None:
        """Unpack the tree of `commit` into `folder`."""
        self.old, self.folder = folder / "old", folder
        archive = folder / "old.tar"
        subprocess.run(["git", "archive", "--output", archive, commit], cwd=NEW, check=True)
        with tarfile.open(archive) as packed:
            packed.extractall(self.old, filter="data")
        write_coco(folder / "data", 12, side=_SIDE)
        self.image = next((folder / "data" / "images").glob("*.jpg"))

    @cached_property
    def checkpoint(self) -> Path:
        """The run folder of a training with the older version."""
        self.train(self.old, self.folder / "run", epochs=1)
        return self.folder / "run"

    @cached_property
    def models(self) -> Path:
        """The model repository with that checkpoint, exported by the older version."""
        self.export(self.old, self.folder / "models")
        return self.folder / "models"

    def train(self, tree: Path, run: Path, epochs: int) -> str:
        """Train, or resume a run; return what is printed."""
        sizes = ("--input", str(_SIDE), "--batch", "4", "--workers", "0", "--epochs", str(epochs))
        data = ("--data", self.folder / "data", *_DATA)
        return self.training(tree, "train", "--run", run, *data, *_NETWORK, *sizes)

    def export(self, tree: Path, repository: Path) -> str:
        """Export the checkpoint as `model`; return what is printed."""
        how = ("--name", "model", "--target", "openvino", "--execution", "dense", "--unproved")
        data = ("--data", self.folder / "data", *_DATA)
        return self.training(tree, "export", self.checkpoint, *data, *how, "--repository", repository)

    def training(self, tree: Path, *words: str | Path) -> str:
        """Run a command of the training of one version; return what it prints."""
        return run(tree, "training", *words)

    def copy_of_the_run(self) -> Path:
        """Return a copy of the older version's run folder, to change it."""
        return Path(shutil.copytree(self.checkpoint, self.folder / "resumed"))


def run(tree: Path, package: str, *words: str | Path, **settings: str) -> str:
    """Run `python -m package` of one version; return what it prints; an error has its last lines."""
    command = [sys.executable, "-m", package, *map(str, words)]
    ended = subprocess.run(
        command,
        cwd=tree,
        env=_environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    printed = ended.stdout + ended.stderr
    assert ended.returncode == 0, f"{' '.join(command[2:4])} ends with {ended.returncode}: {printed[-800:]}"
    return printed


def settings_of(tree: Path) -> dict[str, str]:
    """Return the default of each setting that `python -m service --help` of one version lists."""
    return dict(SETTING.findall(run(tree, "service", "--help")))


@contextmanager
def service(tree: Path, repository: Path, **settings: str) -> Iterator[str]:
    """Run the service of one version until the block ends; give its URL."""
    settings |= {"SPARSIGHT_REPOSITORY": str(repository), "SPARSIGHT_SERVE_UNPROVED": "true"}
    settings |= {"SPARSIGHT_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=tree,
        env=_environment(settings),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        lines = []
        try:
            for line in process.stderr:
                lines.append(line)
                if "ready: open" in line:
                    break
            else:
                raise AssertionError("".join(lines)[-800:])
            yield lines[-1].split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()


def _environment(settings: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
    return {name: value for name, value in inherited.items() if name not in {"HOST", "PORT"}} | settings

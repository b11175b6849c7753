"""Copy a model repository to a folder without links, for object stores and other places that have none."""

import shutil
from pathlib import Path

from training.errors import ConfigError, ExportError
from training.export.graph.shared_weights import write_alone
from training.progress import bar


def copy_without_links(repository: Path, to: Path) -> Path:
    """Copy a model repository to a new folder, with files instead of links, and return this folder.

    A linked OpenVINO graph whose weights are in a file for several graphs gets a file with its own weights
    alone. Otherwise, each of these graphs would get a copy of the whole file. If copying fails, the new
    folder does not exist. Names that start with a dot are left out in the top folder, as servers ignore them.

    Raises:
        ConfigError: the repository does not exist, the new folder exists, or it is inside the repository.
        ExportError: a link leads nowhere, or a file cannot be read or written.
    """
    if not repository.is_dir():
        raise ConfigError(f"there is no folder {repository}")
    if to.exists():
        raise ConfigError(f"{to} exists; name a new folder")
    if to.resolve().is_relative_to(repository.resolve()):
        raise ConfigError(f"{to} is inside {repository}; name a folder outside of it")
    partial = to.with_name(f".{to.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _copy_files(repository, partial)
        partial.rename(to)
    except OSError as error:
        raise ExportError(f"{repository} cannot be copied to {to}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return to


def _copy_files(repository: Path, to: Path) -> None:
    found = sorted(repository.rglob("*"))
    paths = [path for path in found if not path.relative_to(repository).parts[0].startswith(".")]
    to.mkdir(parents=True)
    with bar(len(paths), "file", "copy") as progress:
        for path in paths:
            new = to / path.relative_to(repository)
            if path.is_symlink() and not path.exists():
                raise ExportError(
                    f"{path} is a link to {path.readlink()}, which does not exist: build or restore it first"
                )
            if path.is_dir() and path.is_symlink():
                shutil.copytree(path, new)
            elif path.is_dir():
                new.mkdir(exist_ok=True)
            elif _shares_weights(path.with_suffix(".xml")):
                if path.suffix == ".xml":
                    write_alone(path, path.with_suffix(".bin"), new)
            else:
                shutil.copyfile(path, new)
            progress.update()


def _shares_weights(graph: Path) -> bool:
    """Return whether a graph is a link whose weights are in a file of another name."""
    weights = graph.with_suffix(".bin")
    return graph.is_symlink() and weights.is_symlink() and weights.readlink().name != weights.name

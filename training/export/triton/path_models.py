"""Write and find the Triton models of the graphs of a model with paths, and the model that asks them.

The folders of these models hold links to the graphs in the artifact's folder, so that weights are stored
once. Only single files are linked: whoever copies the repository to a place without links, such as an object
store, then stores each graph twice. If whole versions were linked, every model would get a copy of every
graph.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.export.artifact.stored_manifest import StoredManifest
from training.export.targets.triton_options import TritonOptions
from training.export.triton.path_text import (
    ASKING_FILE,
    asking_config,
    files_of,
    graph_config,
    graph_model_name,
)
from training.export.triton.text import CONFIG_FILE, HEADING

ASKING_SOURCE = Path(__file__).resolve().parent / "paths" / ASKING_FILE
_OURS = re.compile("(?P<model>.+)-(?P<graph>router|path[0-9]+-k[0-9]+)")  # as exporters name the graphs


def stage_path_models(room: Path, manifests: Sequence[StoredManifest], options: TritonOptions) -> None:
    """Write the model `<name>-<target>`, and one for each graph, into a staging folder.

    Args:
        room: the staging folder, in which each model gets a folder.
        manifests: the manifest of every version that will be in the repository.

    Raises:
        ConfigError: the model does not support the options.
    """
    asking = room / manifests[0].model_name
    (asking / CONFIG_FILE).write_text(asking_config(manifests, options), encoding="ascii")
    for stored in manifests:
        version = asking / str(stored.version)
        version.mkdir(exist_ok=True)
        (version / ASKING_FILE).write_bytes(ASKING_SOURCE.read_bytes())
    for graph in graphs_of(manifests):
        having = [stored for stored in manifests if graph in graphs_of([stored])]
        model = room / graph_model_name(manifests[0], graph)
        for stored in having:
            version = model / str(stored.version)
            version.mkdir(parents=True)
            for name, file in files_of(graph, stored, options).items():
                (version / name).symlink_to(f"../../{asking.name}/{stored.version}/{file}")
        (model / CONFIG_FILE).write_text(graph_config(graph, having, options), encoding="ascii")


def graphs_of(manifests: Iterable[StoredManifest]) -> list[str]:
    """Return the names of the graphs of some versions, each once; [] if the versions have no paths."""
    names = [each["name"] for stored in manifests if stored.has_paths for each in stored.content["graphs"]]
    return list(dict.fromkeys(names))


def models_with_graphs(repository: Path) -> set[str]:
    """Return each `<name>-<target>` that has models of graphs in a repository, even if it is gone itself."""
    found = [(_OURS.fullmatch(model.name), model) for model in repository.glob("*")]
    return {name["model"] for name, model in found if name and _is_ours(model)}


def stale_models(repository: Path, name: str, manifests: Sequence[StoredManifest]) -> list[Path]:
    """Return the models of graphs, and versions of such models, whose graphs the versions of a model lack.

    Triton would try to load such a version, and fail.

    Args:
        repository: has the models of graphs.
        name: a folder `<name>-<target>` of the repository, which may be gone.
        manifests: of its versions.
    """
    stale = []
    for model in sorted(repository.glob(f"{name}-*")):
        named = _OURS.fullmatch(model.name)
        if not named or named["model"] != name or not _is_ours(model):
            continue
        graph = named["graph"]
        kept = {str(stored.version) for stored in manifests if graph in graphs_of([stored])}
        versions = [each for each in sorted(model.iterdir()) if each.is_dir() and each.name not in kept]
        stale += versions if kept else [model]
    return stale


def _is_ours(model: Path) -> bool:
    config = model / CONFIG_FILE
    return config.is_file() and config.read_text(encoding="utf-8", errors="replace").startswith(HEADING)

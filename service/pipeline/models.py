"""The loaded models: opened once, each replays its golden sample before it may serve."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from service.artifact.golden import verify_golden
from service.artifact.repository import Artifact, find_artifacts
from service.backends.open import open_backend
from service.backends.protocol import Backend
from service.errors import SettingsInvalid, UnknownModel
from service.metrics import Metrics
from service.pipeline.run import replay_golden
from service.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """One model, and the backends that can run it, the preferred one first."""

    artifact: Artifact
    backends: Mapping[str, Backend]


@dataclass(frozen=True)
class Models:
    """Every served model by name."""

    by_name: Mapping[str, Model]
    default: str

    def get(self, name: str | None) -> Model:
        """Return a model; None asks for the default.

        Raises:
            UnknownModel: there is none of this name.
        """
        wanted = self.default if name is None else name
        if wanted not in self.by_name:
            raise UnknownModel(wanted, tuple(self.by_name))
        return self.by_name[wanted]


@contextmanager
def open_models(settings: Settings, metrics: Metrics) -> Iterator[Models]:
    """Load every model, replay its golden sample, and close all at the end.

    Raises:
        ArtifactError: a model is missing, broken, or does not reproduce its golden sample.
        SettingsInvalid: the default model is not among the loaded ones.
    """
    artifacts = find_artifacts(settings.repository, settings.target)
    names = tuple(artifact.manifest.name for artifact in artifacts)
    default = settings.default_model or names[0]
    if default not in names:
        raise SettingsInvalid(
            f"default_model {default!r} is not in the repository; it has {', '.join(names)}"
        )
    with ExitStack() as stack:
        loaded = {}
        for artifact in artifacts:
            backend = open_backend("openvino", artifact, settings)
            stack.callback(backend.close)
            verify_golden(artifact, partial(replay_golden, manifest=artifact.manifest, backend=backend))
            loaded[artifact.manifest.name] = Model(artifact, {"openvino": backend})
            _announce(artifact, metrics)
        metrics.set_backend_up("openvino", True)
        stack.callback(metrics.set_backend_up, "openvino", False)
        yield Models(loaded, default)


def _announce(artifact: Artifact, metrics: Metrics) -> None:
    manifest = artifact.manifest
    metrics.declare_model(manifest.name, manifest.version, artifact.sha256, manifest.routing)
    for layer in manifest.mixture:
        metrics.declare_experts(
            manifest.name, manifest.version, layer.layer, layer.num_experts, layer.expert_share
        )
    log.info(
        "model loaded, golden sample reproduced",
        extra={"model": manifest.name, "version": manifest.version, "folder": str(artifact.folder)},
    )

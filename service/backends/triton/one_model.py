"""Ask the Triton model of an artifact with one graph."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.backends.triton.sender import Sender
from service.request import RequestContext
from service.types import RawOutputs


class OneModel:
    """The Triton model that runs the only graph of a version."""

    def __init__(self, sender: Sender, manifest: Manifest) -> None:
        """Prepare to ask; raise ArtifactBroken if the version has several graphs."""
        manifest.only_graph()
        self._sender = sender
        self._manifest = manifest
        self.names = (f"{manifest.name}-{manifest.target}",)

    async def infer(self, inputs: Mapping[str, NDArray[Any]], context: RequestContext) -> RawOutputs:
        """Return the outputs by name; see `Sender.run` for the errors."""
        images = self._manifest.images.name
        controls = {name: array for name, array in inputs.items() if name != images}
        with self._sender.place(inputs[images]) as placed:
            return await self._sender.run(self.names[0], placed, controls, self._manifest, context)

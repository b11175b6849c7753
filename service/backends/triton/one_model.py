"""Ask the Triton model of an artifact with one graph."""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.backends.protocol import RouteTerms
from service.backends.triton.sender import Sender
from service.request import RequestContext
from service.timeline import begin
from service.types import RawOutputs


class OneModel:
    """The Triton model that runs the only graph of a version."""

    def __init__(self, sender: Sender, manifest: Manifest) -> None:
        """Prepare to ask; raise ArtifactBroken if the version has several graphs."""
        manifest.only_graph()
        self._sender = sender
        self._manifest = manifest
        self.names = (f"{manifest.name}-{manifest.target}",)

    async def infer(
        self, inputs: Mapping[str, NDArray[Any]], terms: RouteTerms | None, context: RequestContext
    ) -> tuple[RawOutputs, float]:
        """Return the outputs by name, and the seconds that this took; see `Sender.run` for the errors."""
        images, began = self._manifest.images.name, perf_counter()
        controls = {name: array for name, array in inputs.items() if name != images}
        with begin(context.step, "infer") as step, self._sender.place(inputs[images]) as placed:
            inside = context.inside(step)
            outputs = await self._sender.run(self.names[0], placed, controls, self._manifest, inside)
        return outputs, perf_counter() - began

"""Choose the route of an image of a model with paths: its path, and a top_k that ends before its deadline."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.paths import TOP_K
from service.backends.protocol import RouteTerms
from service.backends.route_times import RouteTimes
from service.errors import BackendFailed
from service.request import RequestContext

# B images of a batch · P paths

Inputs = Mapping[str, NDArray[Any]]
"""The inputs of a batch by name; after the router, also its probabilities, by the name of its output."""


class RouteChoice:
    """The choice of routes for one version on one backend, which learns their times in `times`."""

    def __init__(self, manifest: Manifest) -> None:
        """Begin without times; the manifest has paths."""
        assert manifest.paths is not None
        self._model = manifest.name
        self._probabilities = manifest.paths.router_output.name
        self.times = RouteTimes({spec.key: spec.gflops for spec in manifest.paths.routes})

    def routed(
        self,
        inputs: Inputs,
        probabilities: NDArray[np.float32],
        terms: RouteTerms | None,
        context: RequestContext,
    ) -> Inputs:
        """Return the inputs with the router's probabilities, (B, P), and with the top_k that `fit` chooses.

        Raises:
            RouteTooSlow, DeadlineExceeded: see `fit`.
            BackendFailed: a probability is not finite.
        """
        if not np.isfinite(probabilities).all():
            raise BackendFailed(f"the router of model {self._model!r} returned a number that is not finite")
        return self.fit({**inputs, self._probabilities: probabilities}, terms, context)

    def fit(self, inputs: Inputs, terms: RouteTerms | None, context: RequestContext) -> Inputs:
        """Return the inputs of one image with the highest top_k, of those allowed, that will end in time.

        Inputs of several images, and without terms, stay as they are.

        Args:
            inputs: with the router's probabilities.
            terms: are told if the top_k is not the request's.
            context: deadline of the request.

        Raises:
            RouteTooSlow: no route that `terms` allows would probably end before the deadline.
            DeadlineExceeded: the deadline has passed.
        """
        probabilities, top_ks = inputs[self._probabilities], inputs[TOP_K]
        if terms is None or len(probabilities) > 1:
            return inputs
        asked = int(probabilities.argmax()), int(top_ks[0, 0])
        _, top_k = self.times.choose(asked, terms.cheaper, context.left_s())
        if top_k == asked[1]:
            return inputs
        terms.top_k = top_k
        return {**inputs, TOP_K: np.full_like(top_ks, top_k)}

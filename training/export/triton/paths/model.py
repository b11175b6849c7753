"""Answer images of a model with paths: the Triton model `<name>-<target>`.

The model asks `<name>-<target>-router` for the path of each image, and then, for the images of each path and
top_k, the model that runs the graph of this route. Images of several requests that take the same route are
asked for together. The experts of a route are fixed, so their gates and probabilities are in the manifest.
"""

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

# B images of all requests · P paths · L mixture layers · E experts of the widest layer

Arrays = Mapping[str, NDArray[Any]]
Route = tuple[int, int]  # path and top_k

TOP_K = "top_k"  # the only control
DTYPES = {
    "u8": np.uint8,
    "i32": np.int32,
    "i64": np.int64,
    "f16": np.float16,
    "f32": np.float32,
    "bool": np.bool_,
}
FILLED = ("gates", "router_probs", "path_probs")  # roles of the outputs that no graph of a route returns


class Failure(Exception):
    """Why images have no answer, with the status that Triton gives the caller."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def failure_of(sentence: str, code: int) -> Failure:
    """Return why a model that this one asked has no answer.

    Of a failed call, Triton 2.51 tells this model the sentence, but always calls it an internal error. The
    caller gets the status that it would get from the asked model itself.
    """
    if "is not ready" in sentence or "is not found" in sentence:
        return Failure(sentence, pb_utils.TritonError.NOT_FOUND)
    if "timeout expired" in sentence or "maximum queue size" in sentence:
        return Failure(sentence, pb_utils.TritonError.UNAVAILABLE)
    return Failure(sentence, code)


@dataclass(frozen=True)
class Asked:
    """The images of one request, and their rows among the images of all requests."""

    images: NDArray[np.uint8]  # (N, height, width, 3)
    top_k: NDArray[np.int64]  # (N,)
    rows: slice
    end_s: float  # when the caller waits no longer, on the clock of time.monotonic; inf: it does not say
    trace: Any  # to which the calls of other models belong, if Triton traces the request


def time_left_us(asked: Sequence[Asked]) -> int:
    """Return the longest time that is left to some requests, in microseconds; 0 if one has no limit.

    Triton does not say how long a request has waited for this model, so the time counts from `read`.
    """
    end_s = max(each.end_s for each in asked)
    return 0 if math.isinf(end_s) else max(1, round((end_s - time.monotonic()) * 1e6))


class TritonPythonModel:
    """One instance of the model, which Triton creates, and whose methods Triton calls."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the manifest of this version from the model's configuration."""
        config, version = json.loads(args["model_config"]), args["model_version"]
        stated = config["parameters"].get(f"manifest.{version}")
        if stated is None:
            sentence = f"config.pbtxt has no manifest of version {version}; `triton-config` writes it"
            raise pb_utils.TritonModelException(sentence)
        self.routes = Routes(json.loads(stated["string_value"]), config["max_batch_size"] or 1)

    async def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer the requests that Triton has joined; a wrong request affects no other."""
        read: list[Asked | Failure] = []
        count = 0
        for request in requests:
            try:
                one = self.routes.read(request, count)
            except Failure as failure:
                read.append(failure)
                continue
            read.append(one)
            count += len(one.images)
        asked = [each for each in read if isinstance(each, Asked)]
        outputs, failures = await self.routes.answer(asked) if asked else ({}, {})
        return [response(each, outputs, failures) for each in read]


def response(asked: Asked | Failure, outputs: Arrays, failures: Mapping[int, Failure]) -> Any:
    """Return the answer to one request: its rows of the outputs, or why one of its images has no answer."""
    if isinstance(asked, Failure):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(asked), asked.code))
    for row in range(asked.rows.start, asked.rows.stop):
        if row in failures:
            return response(failures[row], outputs, failures)
    tensors = [
        pb_utils.Tensor(name, np.ascontiguousarray(values[asked.rows])) for name, values in outputs.items()
    ]
    return pb_utils.InferenceResponse(tensors)


class Routes:
    """The router and the routes of one version of a model."""

    def __init__(self, manifest: Mapping[str, Any], most: int) -> None:
        """Prepare to ask; `most` is the largest number of images that a graph takes at once."""
        self.manifest, self.most = manifest, most
        paths = manifest["paths"]
        self.router, self.router_output = paths["router"], paths["router_output"]["name"]
        self.images = next(row["name"] for row in manifest["inputs"] if row["role"] == "images")
        self.by_route = {(route["path"], route["top_k"]): route for route in paths["routes"]}
        self.names = {row["role"]: row["name"] for row in manifest["outputs"]}
        self.of_graphs = [name for role, name in self.names.items() if role not in FILLED]

    def read(self, request: Any, start: int) -> Asked:
        """Return the images of a request; `start` is the row of the first.

        Raises:
            Failure: the caller has cancelled the request, or a top_k has no graphs.
        """
        if request.is_cancelled():
            raise Failure("the caller cancelled the request", pb_utils.TritonError.CANCELLED)
        images, top_k = (
            np.asarray(pb_utils.get_input_tensor_by_name(request, name).as_numpy())
            for name in (self.images, TOP_K)
        )
        allowed = sorted({top_k for _, top_k in self.by_route})
        for value in top_k.ravel().tolist():
            if value not in allowed:
                sentence = f"{TOP_K} is {value}; it must be one of {allowed}"
                raise Failure(sentence, pb_utils.TritonError.INVALID_ARG)
        allowed_s = request.timeout() / 1e6 or math.inf
        rows = slice(start, start + len(images))
        return Asked(images, top_k.reshape(-1), rows, time.monotonic() + allowed_s, request.trace())

    async def answer(self, asked: Sequence[Asked]) -> tuple[Arrays, Mapping[int, Failure]]:
        """Return the outputs for all images, and the failure of each image that has no answer, by its row."""
        images = np.concatenate([each.images for each in asked])
        top_ks = np.concatenate([each.top_k for each in asked]).tolist()
        try:
            routed = await self.ask(self.router, images, [self.router_output], asked)
        except Failure as failure:
            return {}, dict.fromkeys(range(len(images)), failure)
        probabilities = routed[self.router_output]  # (B, P)
        name = self.manifest["name"]
        sentence = f"the router of model {name!r} returned a number that is not finite"
        failures = {
            row: Failure(sentence, pb_utils.TritonError.INVALID_ARG)
            for row in np.flatnonzero(~np.isfinite(probabilities).all(axis=1)).tolist()
        }
        taken: dict[Route, list[int]] = {}
        for row, path in enumerate(probabilities.argmax(axis=1).tolist()):
            if row not in failures:
                taken.setdefault((path, top_ks[row]), []).append(row)
        outputs = {
            row["name"]: np.zeros((len(images), *row["dims"][1:]), DTYPES[row["dtype"]])
            for row in self.manifest["outputs"]
        }
        outputs[self.names["path_probs"]][:] = probabilities
        owners = [each for each in asked for _ in each.images]  # by row
        asking = (
            self.ask(
                self.by_route[route]["graph"], images[rows], self.of_graphs, [owners[row] for row in rows]
            )
            for route, rows in taken.items()
        )
        answers = await asyncio.gather(*asking, return_exceptions=True)
        for (route, rows), answer in zip(taken.items(), answers, strict=True):
            if isinstance(answer, Failure):
                failures.update(dict.fromkeys(rows, answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self.fill(outputs, route, rows, answer)
        return outputs, failures

    def fill(self, outputs: Arrays, route: Route, rows: Sequence[int], answer: Arrays) -> None:
        """Write the rows of the images of one route: what its graph returned, and its fixed experts."""
        for name, values in answer.items():
            outputs[name][rows] = values
        outputs[self.names["gates"]][rows] = self.by_route[route]["gates"]  # (L, E)
        outputs[self.names["router_probs"]][rows] = self.by_route[route]["probs"]

    async def ask(
        self, graph: str, images: NDArray[np.uint8], names: Sequence[str], asked: Sequence[Asked]
    ) -> Arrays:
        """Return the outputs `names` of a graph for some images, which it gets in as few calls as it can.

        Args:
            asked: the requests of the images. A call has the longest of their times, so that no request ends
                another. It belongs to the trace of the first, because it can belong to one only.

        Raises:
            Failure: Triton does not serve the graph, or could not run it.
        """
        parts = await asyncio.gather(
            *(
                self._ask_once(graph, images[start : start + self.most], names, asked)
                for start in range(0, len(images), self.most)
            )
        )
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    async def _ask_once(
        self, graph: str, images: NDArray[np.uint8], names: Sequence[str], asked: Sequence[Asked]
    ) -> Arrays:
        request = pb_utils.InferenceRequest(
            model_name=f"{self.manifest['name']}-{self.manifest['target']}-{graph}",
            model_version=int(self.manifest["version"]),
            inputs=[pb_utils.Tensor(self.images, np.ascontiguousarray(images))],
            requested_output_names=list(names),
            timeout=time_left_us(asked),
            trace=asked[0].trace,
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        answer = await request.async_exec()
        if answer.has_error():
            raise failure_of(answer.error().message(), answer.error().code())
        # Copied, because the memory is the server's, and is free again once the answer is gone.
        return {name: pb_utils.get_output_tensor_by_name(answer, name).as_numpy().copy() for name in names}

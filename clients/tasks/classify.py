"""Classify a whole image by requesting its most probable classes from the service or from Triton."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ManifestMismatch, WrongTask
from ..facts import Facts
from ..manifest import Manifest, Tensor
from ..parameters import Classes, as_text, class_ids, given, resolve_controls, whole
from ..service_answer import common as common_of_answer
from ..tensors import Canvas, Tensors, check, common, graph_inputs, graph_name, routing_outputs, rows_of
from ..types import Answer, Layout
from .calls import AsyncCaller, Caller, Image, task_of

# C classes of the model · N reported classes

_PROBABILITIES = "probabilities"  # role of the output
_MOST_CLASSES = 10_000


@dataclass(frozen=True)
class ClassScore:
    """One class and its probability."""

    class_name: str
    class_id: int
    score: float  # 0..1


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification(Answer):
    """The most probable classes of one image. Iterating yields one ClassScore per class, best first."""

    class_ids: NDArray[np.int64]  # (N,)
    class_names: tuple[str, ...]  # N
    scores: NDArray[np.float32]  # (N,)  0..1, highest first

    def __post_init__(self) -> None:
        n = len(self.class_names)
        if self.class_ids.shape != (n,) or self.scores.shape != (n,):
            raise ValueError(f"{self.class_ids.shape=} {self.scores.shape=} do not fit {n=}")

    def __len__(self) -> int:
        return len(self.class_names)

    def __iter__(self) -> Iterator[ClassScore]:
        rows = zip(self.class_names, self.class_ids.tolist(), self.scores.astype(float).tolist(), strict=True)
        for class_name, class_id, score in rows:
            yield ClassScore(class_name, class_id, score)

    def predictions(self) -> list[dict[str, Any]]:
        """Return the classes as dicts with the keys and the rounding of the service's predictions."""
        return [
            {"class": one.class_name, "class_id": one.class_id, "confidence": round(one.score, 6)}
            for one in self
        ]

    def layout(self) -> Layout:
        """Return the classes as a table with one class per row."""
        summary = f"{self.class_names[0]} most likely" if self.class_names else "no class"
        return Layout(summary, ("class", "score"), ("", ".3f"), [(one.class_name, one.score) for one in self])


@dataclass(frozen=True, kw_only=True)
class ClassifyParams:
    """The parameters of a classification call; a field that is None stands for the model's default."""

    task: ClassVar[str] = "classify"

    top: int | None = None
    classes: Classes | None = None
    controls: Mapping[str, float] = field(default_factory=dict)

    def ask(self, image: bytes | NDArray[Any], manifest: Manifest) -> "ClassifyQuestion":
        """Return the request to Triton: the resized image, with the model's defaults for missing parameters.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            manifest: manifest of the model.

        Raises:
            BadImage: the file cannot be decoded, or the array is no image.
            BadParameter: a value is out of range, or the call names a class or control that the model lacks.
            ManifestMismatch: the manifest lacks an entry that classification needs, or an entry is invalid.
        """
        try:
            probabilities = manifest.output(_PROBABILITIES)
            routing_outputs(manifest)
            settings = Facts(dict(manifest.task_settings), "task_settings.")
            default = settings.part("defaults").whole("top", 1)
            classes = len(manifest.class_names)
            if probabilities.shape(1) != (1, classes):
                raise ValueError(f"the dims of {probabilities.name} must be [B, {classes}]")
        except ValueError as error:
            raise ManifestMismatch(graph_name(manifest.name, manifest.target), str(error)) from error
        return ClassifyQuestion(
            manifest=manifest,
            canvas=Canvas.of(image, manifest),
            top=default if self.top is None else whole("top", self.top, _MOST_CLASSES),
            class_ids=None if self.classes is None else class_ids(self.classes, manifest.class_names),
            controls=resolve_controls(self.controls, manifest),
        )

    def query(self) -> dict[str, str | float]:
        """Return these parameters as the query of `POST /detect`; leave out parameters that are None."""
        query: dict[str, str | float] = {**self.controls}
        if self.top is not None:
            query["top"] = self.top
        if self.classes is not None:
            query["classes"] = as_text(self.classes)
        return query

    def read(self, answer: Facts) -> Classification:
        """Return the classification, read from the service's answer.

        Raises:
            ValueError: a member of the answer is missing, or has another type.
            WrongTask: the answer has boxes or no predictions; a classifier always returns at least one
                class.
        """
        found = answer.parts("predictions")
        if not found or any(one.has("x") for one in found):
            raise WrongTask(answer.part("model").text("name"), task_of(found[0]) if found else "detect")
        return Classification(
            **common_of_answer(answer),
            class_ids=np.array([one.whole("class_id") for one in found], dtype=np.int64),
            class_names=tuple(one.text("class") for one in found),
            scores=np.array([one.share("confidence") for one in found], dtype=np.float32),
        )


@dataclass(frozen=True, kw_only=True)
class ClassifyQuestion:
    """A request to a classifier in Triton, with one image.

    The request goes directly to the model's graph. Unlike a detector, a classifier needs no ensemble.
    """

    manifest: Manifest
    canvas: Canvas
    top: int
    class_ids: frozenset[int] | None  # None: all
    controls: Mapping[str, float]

    @property
    def model(self) -> str:
        """Return the name of the graph in Triton."""
        return graph_name(self.manifest.name, self.manifest.target)

    @property
    def parameters(self) -> Mapping[str, int]:
        """Return the request parameters other than tensors."""
        return {}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the outputs to fetch, which hold the probabilities and the routing."""
        return tuple(tensor.name for tensor in self._rows)

    @cached_property
    def tensors(self) -> Tensors:
        """Return the graph's inputs, by name."""
        return graph_inputs(self.manifest, self.canvas, self.controls)

    def read(self, outputs: Tensors) -> Classification:
        """Return the most probable classes, read from the graph's outputs.

        Raises:
            ManifestMismatch: an output is missing, or its shape or type differs from the manifest.
        """
        check(outputs, rows_of(self._rows), self.model)
        probabilities = outputs[self._rows[0].name][0].astype(np.float32)  # (C,)
        best = np.argsort(-probabilities, kind="stable")  # equal probabilities in the order of class ids
        if self.class_ids is not None:
            best = best[np.isin(best, sorted(self.class_ids))]
        best = best[: self.top]
        return Classification(
            **common(self.manifest, self.canvas, self.controls, outputs),
            class_ids=best.astype(np.int64),
            class_names=tuple(self.manifest.class_names[i] for i in best),
            scores=probabilities[best],
        )

    @property
    def _rows(self) -> tuple[Tensor, ...]:
        return (self.manifest.output(_PROBABILITIES), *routing_outputs(self.manifest))


class ClassifyCalls(Caller):
    """The method `classify` of synchronous clients."""

    def classify(
        self,
        image: Image,
        *,
        top: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Classification:
        """Return the most probable classes of an image, and the experts that ran.

        A parameter that is left out gets the model's default.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            top: number of classes to return, the most probable first.
            classes: names or ids of the classes to choose from; None for all classes.
            controls: values for controls of the model, by name; see `detect`.

        Raises:
            ClientError: the call failed; the message says what to do.
        """
        return self._run(image, ClassifyParams(top=top, classes=classes, controls=given(controls)))


class AsyncClassifyCalls(AsyncCaller):
    """The method `classify` of asyncio clients."""

    async def classify(
        self,
        image: Image,
        *,
        top: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Classification:
        """Return the most probable classes, and the experts that ran; see ClassifyCalls.classify."""
        return await self._run(image, ClassifyParams(top=top, classes=classes, controls=given(controls)))

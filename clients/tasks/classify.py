"""Classification: the most probable classes of a whole image, from Triton's graph or from the service."""

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
from .calls import AsyncCaller, Caller, Image

# C classes · N of them are told

_PROBABILITIES = "probabilities"  # a role
_MOST_CLASSES = 10_000


@dataclass(frozen=True)
class ClassScore:
    """One class, and how probable it is."""

    class_name: str
    class_id: int
    score: float  # 0..1


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification(Answer):
    """What one image shows. Iterate for one class after the other, best first."""

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
        """Describe the classes as the service does."""
        return [
            {"class": one.class_name, "class_id": one.class_id, "confidence": round(one.score, 6)}
            for one in self
        ]

    def layout(self) -> Layout:
        """Lay out the classes, one in a row."""
        told = f"{self.class_names[0]} most likely" if self.class_names else "no class"
        return Layout(told, ("class", "score"), ("", ".3f"), [(one.class_name, one.score) for one in self])


@dataclass(frozen=True, kw_only=True)
class ClassifyParams:
    """What a call asks for; None means the model's default."""

    task: ClassVar[str] = "classify"

    top: int | None = None
    classes: Classes | None = None
    controls: Mapping[str, float] = field(default_factory=dict)

    def ask(self, image: NDArray[np.uint8], manifest: Manifest) -> "ClassifyQuestion":
        """Bring (H, W, 3) RGB onto the canvas and fill in the model's defaults.

        Raises:
            BadParameter: out of range, or the model has no such class or control.
            ManifestMismatch: the manifest lacks what classification needs.
        """
        try:
            probabilities = manifest.output(_PROBABILITIES)
            routing_outputs(manifest)
            settings = Facts(dict(manifest.task_settings), "task_settings.")
            default = settings.part("defaults").whole("top", 1)
            classes = len(manifest.class_names)
            if probabilities.shape(1) != (1, classes):
                raise ValueError(f"{probabilities.name} has other dims than [B, {classes}]")
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
        """Return the parameters of `POST /detect`."""
        query: dict[str, str | float] = {**self.controls}
        if self.top is not None:
            query["top"] = self.top
        if self.classes is not None:
            query["classes"] = as_text(self.classes)
        return query

    def read(self, answer: Facts) -> Classification:
        """Read the service's answer.

        Raises:
            ValueError: a member is missing, or has another type.
            WrongTask: it tells objects, or none: a classifier always tells a class.
        """
        found = answer.parts("predictions")
        if not found or any(one.has("x") for one in found):
            raise WrongTask(answer.part("model").text("name"), "detect")
        return Classification(
            **common_of_answer(answer),
            class_ids=np.array([one.whole("class_id") for one in found], dtype=np.int64),
            class_names=tuple(one.text("class") for one in found),
            scores=np.array([one.share("confidence") for one in found], dtype=np.float32),
        )


@dataclass(frozen=True, kw_only=True)
class ClassifyQuestion:
    """One image for the graph; there is nothing to suppress, so there is no ensemble."""

    manifest: Manifest
    canvas: Canvas
    top: int
    class_ids: frozenset[int] | None  # None: all
    controls: Mapping[str, float]

    @property
    def model(self) -> str:
        """Return the graph's name."""
        return graph_name(self.manifest.name, self.manifest.target)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the probabilities and of the routing."""
        return tuple(tensor.name for tensor in self._rows)

    @cached_property
    def tensors(self) -> Tensors:
        """Return the graph's inputs."""
        return graph_inputs(self.manifest, self.canvas, self.controls)

    def read(self, outputs: Tensors) -> Classification:
        """Map the probabilities to the best classes.

        Raises:
            ManifestMismatch: an output is missing, or does not fit the manifest.
        """
        check(outputs, rows_of(self._rows), self.model)
        probabilities = outputs[self._rows[0].name][0].astype(np.float32)  # (C,)
        best = np.argsort(-probabilities, kind="stable")  # equal ones by their id
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
    """The calls for a classifier."""

    def classify(
        self,
        image: Image,
        *,
        top: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Classification:
        """Say what an image shows, and which experts looked at it. What is left out is the model's default.

        Args:
            image: an image file's bytes, or (H, W, 3) uint8 RGB pixels.
            top: how many classes to tell, the most probable first.
            classes: names or ids of the classes among which to tell.
            controls: numbers for the model's controls; see `detect`.

        Raises:
            ClientError: one of the errors of this package, with a sentence that says what to do.
        """
        return self._run(image, ClassifyParams(top=top, classes=classes, controls=given(controls)))


class AsyncClassifyCalls(AsyncCaller):
    """The same for asyncio."""

    async def classify(
        self,
        image: Image,
        *,
        top: int | None = None,
        classes: Classes | None = None,
        **controls: float | None,
    ) -> Classification:
        """Say what an image shows, and which experts looked at it; see ClassifyCalls.classify."""
        return await self._run(image, ClassifyParams(top=top, classes=classes, controls=given(controls)))

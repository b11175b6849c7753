"""Choose the parameters of a call by the model's task; each task has a module with its parameters."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import BadParameter, ClientError, ManifestMismatch, WrongTask
from ..manifest import Manifest
from ..tensors import Params
from ..types import Answer
from .classify import AsyncClassifyCalls, ClassifyCalls, ClassifyParams
from .detect import AsyncDetectCalls, DetectCalls, DetectParams
from .obb import AsyncOrientedCalls, OrientedCalls, OrientedParams
from .pose import AsyncPoseCalls, PoseCalls, PoseParams
from .segment import AsyncSegmentCalls, SegmentCalls, SegmentParams

_Kind = type[DetectParams | ClassifyParams | SegmentParams | PoseParams | OrientedParams]
_KINDS: tuple[_Kind, ...] = (DetectParams, ClassifyParams, SegmentParams, PoseParams, OrientedParams)


class Calls(DetectCalls, ClassifyCalls, SegmentCalls, PoseCalls, OrientedCalls):
    """The methods of a synchronous client, one for each task."""


class AsyncCalls(AsyncDetectCalls, AsyncClassifyCalls, AsyncSegmentCalls, AsyncPoseCalls, AsyncOrientedCalls):
    """The methods of an asynchronous client, one for each task."""


def params_of(manifest: Manifest, asked: Mapping[str, Any]) -> Params[Answer]:
    """Return the parameters of a call, for the task that the manifest names.

    Args:
        manifest: manifest of the model.
        asked: parameters of the task and controls of the model, by name; None values are ignored.

    Raises:
        BadParameter: one of the parameters belongs to another task.
        ManifestMismatch: this client does not know the task that the manifest names.
    """
    kind = _kind_of(manifest)
    own, others = _own(kind), {name for each in _KINDS for name in _own(each)}
    given = {name: value for name, value in asked.items() if value is not None}
    for name in given:
        if name in others and name not in own:
            sentence = f"the task {kind.task!r} has no parameter {name}; it has {', '.join(own)}"
            raise BadParameter(name, sentence)
    controls = {name: value for name, value in given.items() if name not in own}
    return kind(controls=controls, **{name: given[name] for name in own if name in given})


def wrong_task(manifest: Manifest) -> ClientError:
    """Return the error for a model whose task is not that of the call; it names the right method."""
    try:
        return WrongTask(manifest.name, _kind_of(manifest).task)
    except ManifestMismatch as unknown:
        return unknown


def _kind_of(manifest: Manifest) -> _Kind:
    for kind in _KINDS:
        if kind.task == manifest.task:
            return kind
    known = ", ".join(kind.task for kind in _KINDS)
    raise ManifestMismatch(manifest.name, f"its task is {manifest.task!r}; this client supports {known}")


def _own(kind: _Kind) -> list[str]:
    return [field.name for field in fields(kind) if field.name != "controls"]

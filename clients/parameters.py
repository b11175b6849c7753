"""What a caller wants, checked against what a model can do, before anything is sent."""

from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral, Real

from clients.errors import BadParameter
from clients.manifest import Manifest

_MOST_DETECTIONS = 10_000  # as the service's


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a call asks for; None means the model's default."""

    conf: float | None = None
    iou: float | None = None
    max_det: int | None = None
    top_k: int | None = None
    weight_threshold: float | None = None
    classes: Collection[str | int] | str | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What will be done for one image."""

    conf: float
    iou: float
    max_det: int
    top_k: int | None  # None: the graph has no such input
    weight_threshold: float | None  # None: the graph has no such input
    class_ids: frozenset[int] | None  # None: all


def resolve(wishes: Wishes, manifest: Manifest) -> Options:
    """Fill in the model's defaults.

    Raises:
        BadParameter: out of range, or the model has no such class, top_k or control.
    """
    return Options(
        conf=manifest.conf if wishes.conf is None else _share("conf", wishes.conf),
        iou=manifest.iou if wishes.iou is None else _share("iou", wishes.iou),
        max_det=manifest.max_det if wishes.max_det is None else _max_det(wishes.max_det),
        top_k=manifest.top_k if wishes.top_k is None else _top_k(wishes.top_k, manifest),
        weight_threshold=_weight_threshold(wishes.weight_threshold, manifest),
        class_ids=None if wishes.classes is None else _class_ids(wishes.classes, manifest.class_names),
    )


def _share(name: str, value: float) -> float:
    # Written so that NaN fails too; True and False are numbers to Python and mistakes here.
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise BadParameter(name, f"{name}={value!r} cannot be used; give a number from 0 to 1")
    return float(value)


def _max_det(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= value <= _MOST_DETECTIONS:
        sentence = f"max_det={value!r} cannot be used; give a whole number from 1 to {_MOST_DETECTIONS}"
        raise BadParameter("max_det", sentence)
    return int(value)


def _top_k(value: int, manifest: Manifest) -> int:
    if manifest.top_k is None:
        raise BadParameter("top_k", f"model {manifest.name!r} has no top_k; leave it out")
    if isinstance(value, bool) or not isinstance(value, Integral) or value not in manifest.allowed_top_k:
        allowed = ", ".join(map(str, sorted(manifest.allowed_top_k)))
        raise BadParameter("top_k", f"top_k={value!r} is not allowed; use one of: {allowed}")
    return int(value)


def _weight_threshold(value: float | None, manifest: Manifest) -> float | None:
    if value is None:
        return manifest.weight_threshold
    if manifest.weight_threshold is None:
        sentence = f"model {manifest.name!r} has no weight_threshold; leave it out"
        raise BadParameter("weight_threshold", sentence)
    return _share("weight_threshold", value)


def _class_ids(classes: Collection[str | int] | str, class_names: tuple[str, ...]) -> frozenset[int]:
    wanted: Collection[str | int] = (classes,) if isinstance(classes, str | int) else classes
    if not wanted:
        raise BadParameter("classes", "classes is empty; leave it out for all of them")
    return frozenset(_class_id(each, class_names) for each in wanted)


def _class_id(wanted: str | int, class_names: tuple[str, ...]) -> int:
    if isinstance(wanted, str) and wanted in class_names:  # a name wins over an id: a class may be called "7"
        return class_names.index(wanted)
    text = str(wanted)
    if text.isascii() and text.isdigit() and len(text) < 9 and int(text) < len(class_names):
        return int(text)  # str(True) is no digit
    known = ", ".join(class_names[:20]) + (", …" if len(class_names) > 20 else "")
    raise BadParameter("classes", f"there is no class {wanted!r}; there is {known}")

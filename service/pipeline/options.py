"""What a caller wants, checked against what a model can do."""

from dataclasses import dataclass

from service.artifact.manifest import Manifest
from service.errors import InvalidParameter


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a request asks for; None means the model's default."""

    conf: float | None = None
    iou: float | None = None
    max_det: int | None = None
    classes: str | None = None  # names or ids, separated by commas
    top_k: int | None = None
    weight_threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What will be done for one image."""

    conf: float
    iou: float
    max_det: int
    class_ids: frozenset[int] | None  # None: all
    top_k: int | None  # None: the graph has no such input
    weight_threshold: float | None  # None: the graph has no such input


def resolve(wishes: Wishes, manifest: Manifest) -> Options:
    """Fill in the model's defaults.

    Raises:
        InvalidParameter: the model has no such class, top_k or control.
    """
    defaults = manifest.defaults
    return Options(
        conf=defaults.conf if wishes.conf is None else wishes.conf,
        iou=defaults.iou if wishes.iou is None else wishes.iou,
        max_det=defaults.max_det if wishes.max_det is None else wishes.max_det,
        class_ids=None if wishes.classes is None else _class_ids(wishes.classes, manifest.class_names),
        top_k=_top_k(wishes.top_k, manifest),
        weight_threshold=_weight_threshold(wishes.weight_threshold, manifest),
    )


def golden_options(manifest: Manifest) -> Options:
    """Return the options under which the golden sample was made."""
    golden = manifest.golden
    wishes = Wishes(conf=golden.conf, top_k=golden.top_k, weight_threshold=golden.weight_threshold)
    return resolve(wishes, manifest)


def _top_k(wished: int | None, manifest: Manifest) -> int | None:
    control = manifest.controls.top_k
    if control is None:
        if wished is not None:
            raise InvalidParameter("top_k", f"model {manifest.name!r} has no top_k; leave it out")
        return None
    if wished is not None and wished not in control.allowed:
        allowed = ", ".join(map(str, sorted(control.allowed)))
        raise InvalidParameter("top_k", f"top_k={wished} is not allowed; use one of: {allowed}")
    return control.default if wished is None else wished


def _weight_threshold(wished: float | None, manifest: Manifest) -> float | None:
    control = manifest.controls.weight_threshold
    if control is None:
        if wished is not None:
            sentence = f"model {manifest.name!r} has no weight_threshold; leave it out"
            raise InvalidParameter("weight_threshold", sentence)
        return None
    return control.default if wished is None else wished


def _class_ids(classes: str, class_names: tuple[str, ...]) -> frozenset[int]:
    ids = {name: i for i, name in enumerate(class_names)}
    chosen = set()
    for part in (part.strip() for part in classes.split(",")):
        if part in ids:  # a name wins over an id: a class may be called "7"
            chosen.add(ids[part])
        elif part.isascii() and part.isdigit() and int(part[:9]) < len(class_names) and len(part) < 9:
            chosen.add(int(part))
        else:
            known = ", ".join(class_names[:20]) + (", …" if len(class_names) > 20 else "")
            raise InvalidParameter("classes", f"there is no class {part!r}; there is {known}")
    return frozenset(chosen)

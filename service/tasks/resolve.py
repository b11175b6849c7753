"""Check the parameters of a request against a model's manifest, and fill in defaults."""

from collections.abc import Mapping

from service.artifact.manifest import Manifest
from service.artifact.tensors import ControlInput
from service.errors import InvalidParameter
from service.request import DetectParams, Number, ResolvedParams


def resolve(params: DetectParams, manifest: Manifest) -> ResolvedParams:
    """Return the parameters of a request with the model's defaults filled in for missing ones.

    Raises:
        InvalidParameter: the model lacks a class, parameter or control, or does not accept a control's value;
            or its route cannot be explained.
    """
    controls = _controls(params, manifest)
    if params.explain != "off":
        _check_explainable(manifest, controls)
    return ResolvedParams(
        values=_values(params, manifest),
        class_ids=None if params.classes is None else _class_ids(params.classes, manifest.class_names),
        class_conf=_class_conf(params.class_conf, manifest.class_names),
        agnostic_nms=bool(params.agnostic_nms),
        controls=controls,
        masks=params.masks or "rle",
    )


def golden_params(manifest: Manifest) -> ResolvedParams:
    """Return the parameters with which the golden sample was recorded."""
    golden = manifest.golden
    return resolve(DetectParams(values=golden.params, controls=golden.controls), manifest)


def _check_explainable(manifest: Manifest, controls: Mapping[str, Number]) -> None:
    """Raise InvalidParameter if no router of the model decides anything about the image."""
    if not manifest.mixture:
        why = f"model {manifest.name!r} has no mixture layers"
    elif manifest.routing == "static":
        why = f"the routers of model {manifest.name!r} choose the same experts for every image"
    elif controls.get("top_k") == 0:
        why = "with top_k=0 no expert is chosen"
    else:
        return
    raise InvalidParameter("explain", f"{why}, so there is no route to explain; leave out explain")


def _values(params: DetectParams, manifest: Manifest) -> dict[str, Number]:
    defaults: dict[str, Number] = manifest.task_settings.defaults.model_dump()
    known = [*defaults, *manifest.task_settings.further_params]
    asked = [*params.values, *(["conf"] if params.class_conf else [])]
    asked += [name for name in ("agnostic_nms", "masks") if getattr(params, name) is not None]
    for name in asked:
        if name not in known:
            raise InvalidParameter(
                name,
                f"{name} is not a parameter of model {manifest.name!r}, whose task is {manifest.task};"
                f" leave it out, or use: {', '.join(known)}",
            )
    return defaults | dict(params.values)


def _controls(params: DetectParams, manifest: Manifest) -> dict[str, Number]:
    rows = {row.name: row for row in manifest.controls}
    for name in params.controls:
        if name not in rows:
            raise InvalidParameter(name, f"model {manifest.name!r} has no {name}; leave it out")
    asked = {name: _number(rows[name], value) for name, value in params.controls.items()}
    return {name: asked.get(name, row.default) for name, row in rows.items()}


def _number(row: ControlInput, value: Number | str) -> Number:
    """Return a control's value as a number; raise InvalidParameter if the graph does not accept it."""
    if row.allowed is not None:
        what = f"use one of: {', '.join(map(str, sorted(row.allowed)))}"
        kind: type[int] | type[float] = int
    else:
        low, high = row.range or (0.0, 0.0)
        what, kind = f"use a number from {low:g} to {high:g}", float
    try:
        number = None if isinstance(value, float) and kind(value) != value else kind(value)
    except (ValueError, OverflowError):
        number = None
    if number is None or not row.accepts(number):  # NaN is not accepted either
        raise InvalidParameter(row.name, f"{row.name}={str(value)[:40]} is not allowed; {what}")
    return number


def _class_ids(classes: str, class_names: tuple[str, ...]) -> frozenset[int]:
    return frozenset(_class_id("classes", part.strip(), class_names) for part in classes.split(","))


def _class_conf(class_conf: Mapping[str, float], class_names: tuple[str, ...]) -> dict[int, float]:
    by_id: dict[int, float] = {}
    for name, value in class_conf.items():
        class_id = _class_id("conf", name, class_names)
        if class_id in by_id:
            raise InvalidParameter("conf", f"conf is given twice for class {class_names[class_id]!r}")
        by_id[class_id] = value
    return by_id


def _class_id(parameter: str, wanted: str, class_names: tuple[str, ...]) -> int:
    if wanted in class_names:  # first, because a class may have the name "7"
        return class_names.index(wanted)
    if wanted.isascii() and wanted.isdigit() and int(wanted[:9]) < len(class_names) and len(wanted) < 9:
        return int(wanted)
    known = ", ".join(class_names[:20]) + (", …" if len(class_names) > 20 else "")
    commas = any("," in name for name in class_names)
    hint = "; give the id of a class whose name has a comma" if commas else ""
    raise InvalidParameter(parameter, f"there is no class {wanted[:40]!r}; the classes are {known}{hint}")

"""Check the parameters of a call against the model's manifest, before the client sends anything."""

import math
from collections.abc import Collection, Mapping
from numbers import Integral, Real

from .errors import BadParameter
from .manifest import Control, Manifest

Classes = Collection[str | int] | str | int
"""Class names or ids: a collection, or a single name or id."""

Confidence = float | str
"""The lowest score to report: a number, or a text such as "0.3,fish:0.4" with numbers for single classes."""


def share(name: str, value: float) -> float:
    """Return `value` as a float after checking that it is a number from 0 to 1.

    Raises:
        BadParameter: the value is not a number, or is not from 0 to 1.
    """
    # The comparison also refuses NaN. Python counts True and False as numbers; here they are mistakes.
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise BadParameter(name, f"{name}={value!r} cannot be used; give a number from 0 to 1")
    return float(value)


def confidences(
    conf: Confidence | None, class_names: tuple[str, ...]
) -> tuple[float | None, dict[int, float]]:
    """Return the score threshold for all classes, and the thresholds for single classes by class id.

    The threshold for all classes is None if `conf` has none.

    Raises:
        BadParameter: a threshold is not from 0 to 1, `conf` has two thresholds for one class or for all
            classes, or the model does not have one of the classes.
    """
    if not isinstance(conf, str):
        return None if conf is None else share("conf", conf), {}
    for_all, by_class = None, {}
    for part in conf.split(","):
        name, colon, text = (word.strip() for word in part.rpartition(":"))
        try:
            value = share("conf", math.nan if "_" in text else float(text))
        except (ValueError, BadParameter) as error:
            sentence = f"conf={part!r} cannot be used; give numbers from 0 to 1, as 0.3 or 0.3,fish:0.4"
            raise BadParameter("conf", sentence) from error
        class_id = _class_id("conf", name, class_names) if colon else None
        if class_id in by_class or (class_id is None and for_all is not None):
            raise BadParameter("conf", f"conf={conf!r} gives a number twice for {name or 'all classes'}")
        if class_id is None:
            for_all = value
        else:
            by_class[class_id] = value
    return for_all, by_class


def whole(name: str, value: int, most: int) -> int:
    """Return `value` as an int after checking that it is a whole number from 1 to `most`.

    Raises:
        BadParameter: the value is not a whole number, or is not from 1 to `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= value <= most:
        raise BadParameter(name, f"{name}={value!r} cannot be used; give a whole number from 1 to {most}")
    return int(value)


def given(controls: Mapping[str, float | None]) -> dict[str, float]:
    """Return the controls that the caller set: those whose value is not None."""
    return {name: value for name, value in controls.items() if value is not None}


def resolve_controls(asked: Mapping[str, float], manifest: Manifest) -> dict[str, float]:
    """Return a number for each control of the model: the requested number, or the control's default.

    Raises:
        BadParameter: the model does not have a requested control, or the control does not accept the number.
    """
    for name in asked:
        if name not in manifest.controls:
            known = ", ".join(manifest.controls)
            there_is = f"; it has {known}" if known else "; leave it out"
            raise BadParameter(name, f"model {manifest.name!r} has no {name}{there_is}")
    return {
        name: _number(name, asked[name], control) if name in asked else control.default
        for name, control in manifest.controls.items()
    }


def _number(name: str, value: float, control: Control) -> float:
    if control.allowed is not None:
        if isinstance(value, bool) or not isinstance(value, Integral) or value not in control.allowed:
            allowed = ", ".join(map(str, sorted(control.allowed)))
            raise BadParameter(name, f"{name}={value!r} is not allowed; use one of: {allowed}")
        return int(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not control.low <= value <= control.high:
        sentence = f"{name}={value!r} cannot be used; give a number from {control.low:g} to {control.high:g}"
        raise BadParameter(name, sentence)
    return float(value)


def as_text(classes: Classes) -> str:
    """Return class names or ids as one string, separated by commas, for the service's query."""
    return ",".join(map(str, (classes,) if isinstance(classes, str | int) else classes))


def class_ids(classes: Classes, class_names: tuple[str, ...]) -> frozenset[int]:
    """Return the class ids for class names or ids.

    Raises:
        BadParameter: the model does not have one of the classes, or `classes` is empty.
    """
    wanted: Collection[str | int] = (classes,) if isinstance(classes, str | int) else classes
    if not wanted:
        raise BadParameter("classes", "classes is empty; leave it out to report all classes")
    return frozenset(_class_id("classes", each, class_names) for each in wanted)


def _class_id(parameter: str, wanted: str | int, class_names: tuple[str, ...]) -> int:
    if isinstance(wanted, str) and wanted in class_names:  # first, because a class may have the name "7"
        return class_names.index(wanted)
    text = str(wanted)
    if text.isascii() and text.isdigit() and len(text) < 9 and int(text) < len(class_names):
        return int(text)  # True is refused, because str(True) has no digits
    known = ", ".join(class_names[:20]) + (", …" if len(class_names) > 20 else "")
    raise BadParameter(parameter, f"there is no class {wanted!r}; the classes are {known}")

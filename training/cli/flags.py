"""Flags that are declared once: fields of options that become flags, and flags that many commands share."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from training.cli.values import from_0_to_1, from_zero, in_words, positive, size

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
_FORMS: dict[Any, Callable[[str], Any]] = {int: positive, tuple[int, int]: size}  # of others: the type itself

STOPPED = 130  # the exit code that a shell reports after Ctrl-C

Options = TypeVar("Options")
Adds = argparse.ArgumentParser | argparse._MutuallyExclusiveGroup


class UsageError(Exception):
    """Flags that make no sense together: the exit code is 2."""


def add_field(parser: Adds, options: type, name: str, meaning: str, *flags: str, **how: Any) -> None:
    """Add the flag of a dataclass's field, which says its name, default, choices and form.

    Args:
        options: a dataclass that `read` makes from what was written.
        meaning: the help; a default other than None and () is added to it.
        flags: instead of --field-name; a name without dashes is a positional.
        how: of add_argument, where the field's type does not say it, such as a narrower `type`.
    """
    declared = {field.name: field for field in fields(options)}[name]
    kind = next(each for each in _alternatives(get_type_hints(options)[name]) if each is not NoneType)
    settings: dict[str, Any] = {"help": meaning, "default": None}
    if kind is bool:
        settings |= {"action": "store_true", "default": False}
    else:
        settings |= _values(kind)
    if declared.default not in (None, (), MISSING) and kind is not bool:
        settings["help"] = f"{meaning} (default: {_shown(declared.default)})"
    positional = bool(flags) and not flags[0].startswith("-")
    if declared.default is MISSING and not positional:
        settings["required"] = True
    if positional:
        settings.pop("action", None)
    else:
        settings["dest"] = name
    names = flags or ("--" + name.removesuffix("_s").replace("_", "-"),)
    parser.add_argument(*names, **{**settings, **how})


def _shown(default: Any) -> str:
    repeated = isinstance(default, tuple) and len(default) == 1
    return in_words(default[0] if repeated else default).replace("%", "%%")


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if NoneType in get_args(kind) else (kind,)


def _values(kind: Any) -> dict[str, Any]:
    """What argparse is told of a type: Literals are chosen from, tuples of any length given repeatedly."""
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if get_origin(kind) is tuple and kind not in _FORMS:
        return {"action": "append", **_values(get_args(kind)[0])}
    return {"type": _FORMS.get(kind, kind)}


def read(options: Callable[..., Options], args: argparse.Namespace, **more: Any) -> Options:
    """Return the options that were written; None, and no flag, leave a field its default.

    Args:
        options: a dataclass whose fields are looked for under their own names.
        more: fields that no flag says as they are.
    """
    written = {field.name: getattr(args, field.name, None) for field in fields(options)}  # type: ignore[arg-type]
    as_tuples = {name: tuple(each) if isinstance(each, list) else each for name, each in written.items()}
    return options(**{**{name: each for name, each in as_tuples.items() if each is not None}, **more})


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the one positional of most commands."""
    parser.add_argument("checkpoint", type=Path, help="model.safetensors")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add --quiet."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Add --repository."""
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="default: model_repository")


def add_controls(parser: argparse.ArgumentParser) -> None:
    """Add how many experts run when a checkpoint is measured."""
    parser.add_argument(
        "--top-k", type=from_zero, metavar="K", help="experts per image and layer; default: as trained"
    )
    parser.add_argument(
        "--weight-threshold",
        type=from_0_to_1,
        metavar="P",
        help="of those, experts beyond the best run only if their probability reaches this, so that simple "
        "images may cost less; default: as trained",
    )


def say(message: str) -> None:
    """Print at once, since long work follows."""
    print(message, flush=True)


def say_aside(message: str) -> None:
    """Print what is being done, beside an answer that may be read by a machine."""
    print(message, file=sys.stderr, flush=True)

"""Flags that are declared once: fields of option classes as flags, and flags that many commands share."""

import argparse
from collections.abc import Callable, Collection, Mapping
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
    """The flags do not fit together; the exit code is 2."""


def add_fields(parser: Adds, options: type, meanings: Mapping[str, str], **forms: Any) -> None:
    """Add flags for fields of a dataclass, whose types and defaults are those of the fields.

    Args:
        options: the dataclass that `read` makes of the command line.
        meanings: help of each flag by the field's name: "rounds", or "input_hw --input SIZE" if the flag or
            the placeholder has another name. A default other than None and () is appended to the help.
        forms: by field, if its type is not enough: argparse's `type`, or the choices.
    """
    hints = get_type_hints(options)
    defaults = {field.name: field.default for field in fields(options)}
    for written, meaning in meanings.items():
        name, flag, metavar = named(written)
        default = defaults[name]
        if default not in (None, (), MISSING) and default is not False:
            meaning = f"{meaning} (default: {in_words(default)})"  # noqa: PLW2901
        how = value_of(hints[name], metavar, forms.get(name))
        parser.add_argument(flag, dest=name, help=meaning, required=default is MISSING, **how)


def named(written: str) -> tuple[str, str, str | None]:
    """Return field, flag and placeholder; a flag that is not written has the name of the field."""
    field, *words = written.split()
    flag = words.pop(0) if words and words[0].startswith("-") else None
    name = field.rpartition(".")[2].removesuffix("_s").replace("_", "-")
    return field, flag or f"--{name}", words[0] if words else None


def value_of(kind: Any, metavar: str | None = None, form: Any = None) -> dict[str, Any]:
    """Return argparse's arguments for a type; a flag of a tuple of any length is repeated."""
    kind = next(each for each in (*(get_args(kind) if NoneType in get_args(kind) else ()), kind))
    if kind is bool:
        return {"action": "store_const", "const": True}
    how: dict[str, Any] = {} if metavar is None else {"metavar": metavar}
    if get_origin(kind) is tuple and kind not in _FORMS:
        how["action"], kind = "append", get_args(kind)[0]
    if get_origin(kind) is Literal or isinstance(form, Collection):
        return {**how, "choices": form or get_args(kind)}
    return {**how, "type": form or _FORMS.get(kind, kind)}


def read(options: Callable[..., Options], args: argparse.Namespace, **more: Any) -> Options:
    """Return the options on the command line; a field without a flag, or with None, keeps its default.

    Args:
        options: a dataclass; each field is read from the argument of the same name.
        more: values of fields that no flag gives directly.
    """
    written = {field.name: getattr(args, field.name, None) for field in fields(options)}  # type: ignore[arg-type]
    as_tuples = {name: tuple(each) if isinstance(each, list) else each for name, each in written.items()}
    return options(**{**{name: each for name, each in as_tuples.items() if each is not None}, **more})


# What more than one command has, each declared here alone.
SHARED: dict[str, dict[str, Any]] = {
    "checkpoint": {"type": Path, "help": "model.safetensors"},
    "--top-k": {
        "type": from_zero,
        "metavar": "K",
        "help": "experts per image and layer; default: as trained",
    },
    "--weight-threshold": {
        "type": from_0_to_1,
        "metavar": "P",
        "help": "of those, experts beyond the best run only if their probability reaches this, so that "
        "simple images may cost less; default: as trained",
    },
    "--repository": {"type": Path, "default": REPOSITORY, "help": "default: model_repository"},
    "--json": {"action": "store_true", "help": "print JSON"},
    "--quiet": {"action": "store_true", "help": "no progress bar"},
}


def add_shared(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Add flags of SHARED."""
    for flag in flags:
        parser.add_argument(flag, **SHARED[flag])

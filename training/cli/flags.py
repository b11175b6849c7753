"""Declares flags for the fields of option classes, and flags that many commands share."""

import argparse
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from training.cli.values import from_0_to_1, from_zero, in_words, positive, size

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
STOPPED = 130  # the exit code that a shell reports after Ctrl-C
_PARSERS: dict[Any, Callable[[str], Any]] = {int: positive, tuple[int, int]: size}  # others: the type itself

Options = TypeVar("Options")
Adds = argparse.ArgumentParser | argparse._MutuallyExclusiveGroup


class UsageError(Exception):
    """The flags do not fit together; the exit code is 2."""


def add_fields(parser: Adds, options: type, meanings: Mapping[str, str], **forms: Any) -> None:
    """Add flags for fields of a dataclass, with the types and the defaults of the fields.

    Args:
        options: the dataclass; `read` creates it from the command line.
        meanings: the help text of each flag. A key is the name of a field, such as "rounds". If the flag or
            the flag's placeholder is not named after the field, the key also states the flag or the
            placeholder: "input_hw --input SIZE". The field's default is appended to the help, unless the
            default is None, () or False.
        forms: how to read the flag of a field if the type of the field does not say enough. The keyword is
            the field's name; the value is argparse's `type`, or the allowed choices.
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
    """Split a key of `meanings` into field, flag and placeholder; by default, the flag is --<field>."""
    field, *words = written.split()
    flag = words.pop(0) if words and words[0].startswith("-") else None
    name = field.rpartition(".")[2].removesuffix("_s").replace("_", "-")
    return field, flag or f"--{name}", words[0] if words else None


def value_of(kind: Any, metavar: str | None = None, form: Any = None) -> dict[str, Any]:
    """Return keyword arguments of add_argument for the type of a field.

    A flag for a tuple of any length can be repeated; each use of it adds one item to the tuple.
    """
    if NoneType in get_args(kind):
        kind = get_args(kind)[0]
    if kind is bool:
        return {"action": "store_const", "const": True}
    how: dict[str, Any] = {} if metavar is None else {"metavar": metavar}
    if get_origin(kind) is tuple and kind not in _PARSERS:
        how["action"], kind = "append", get_args(kind)[0]
    if get_origin(kind) is Literal or isinstance(form, Collection):
        return {**how, "choices": form or get_args(kind)}
    return {**how, "type": form or _PARSERS.get(kind, kind)}


def read(options: Callable[..., Options], args: argparse.Namespace, **more: Any) -> Options:
    """Return `options` with each field set from the argument of the same name, or from `more`.

    A field keeps its default if `args` has no argument of the field's name, or if this argument is None.
    """
    written = {field.name: getattr(args, field.name, None) for field in fields(options)}  # type: ignore[arg-type]
    as_tuples = {name: tuple(each) if isinstance(each, list) else each for name, each in written.items()}
    return options(**{**{name: each for name, each in as_tuples.items() if each is not None}, **more})


# Arguments that several commands have.
_THRESHOLD = "experts other than the best run only if their probability reaches P; default: as trained"
CHECKPOINT = "model.safetensors, the folder of a run (its best checkpoint by validation), or starter"
_TOP_K = "experts per image and layer; default: as trained"
SHARED: dict[str, dict[str, Any]] = {
    "checkpoint": {"type": Path, "help": CHECKPOINT},
    "--top-k": {"type": from_zero, "metavar": "K", "help": _TOP_K},
    "--weight-threshold": {"type": from_0_to_1, "metavar": "P", "help": _THRESHOLD},
    "--repository": {"type": Path, "default": REPOSITORY, "help": "default: model_repository"},
    "--json": {"action": "store_true", "help": "print JSON"},
    "--quiet": {"action": "store_true", "help": "show no progress bar"},
}


def add_shared(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Add some of the flags that many commands share; `flags` are keys of SHARED."""
    for flag in flags:
        parser.add_argument(flag, **SHARED[flag])

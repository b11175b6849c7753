"""Limits on the values of settings, stated in the types of their fields, and the class that checks them."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from training.errors import ConfigError


class Limit(NamedTuple):
    """A limit on the values of a field, stated in the field's type."""

    text: str  # completes the error message after the name and the value
    holds: Callable[[Any], bool]


POSITIVE = Limit("must be positive", lambda value: value is None or value > 0)
Positive = Annotated[float, POSITIVE]
AT_LEAST_0 = Limit("must be at least 0", lambda value: value is None or value >= 0)
NotNegative = Annotated[float, AT_LEAST_0]
CountFromZero = Annotated[int, AT_LEAST_0]
UpToOne = Annotated[float, Limit("must be in 0..1", lambda value: 0 <= value <= 1)]
BelowOne = Annotated[float, Limit("must be in 0..1, 1 excluded", lambda value: 0 <= value < 1)]
AT_LEAST_1 = Limit("must be at least 1", lambda value: value >= 1)
Count = Annotated[int, AT_LEAST_1]


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with the message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ConfigError, with all known values, unless the value is one of them."""
    require(value in known, f"{name} {value!r} is none of {', '.join(known)}")


class Checked:
    """The base of all configurations; checks each field against the limit or choices that its type states."""

    def __post_init__(self) -> None:
        owner = type(self).__name__.removesuffix("Config").lower()
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            if get_origin(kind) is Literal:
                require_one_of(f"{owner} {name}", value, get_args(kind))
            for limit in getattr(kind, "__metadata__", ()):
                if isinstance(limit, Limit):
                    require(limit.holds(value), f"{name}={value} {limit.text}")

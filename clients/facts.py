"""Reads JSON by type, so that what is missing or garbled is named instead of guessed."""

from collections.abc import Iterator, Mapping
from typing import Any


class Facts:
    """A JSON object whose members are read by type; anything missing or of another type is a ValueError.

    Args:
        members: what the JSON parser gave.
        where: path of the object in its document, for errors; empty for the document.
    """

    def __init__(self, members: Any, where: str = "") -> None:
        self._members = members
        self._where = where
        if not isinstance(members, dict):
            raise ValueError(f"{where.rstrip('.') or 'the document'} is not an object")

    def text(self, name: str) -> str:
        """Return a string."""
        return str(self._get(name, str))

    def one_of(self, name: str, *allowed: str) -> str:
        """Return a string that is one of those allowed."""
        value = self.text(name)
        if value not in allowed:
            raise ValueError(f"{self._where}{name} is {value!r}, this client knows {' and '.join(allowed)}")
        return value

    def whole(self, name: str, least: int = 0, most: int | None = None) -> int:
        """Return a whole number from `least` to `most`."""
        value = int(self._get(name, int))
        if value < least or (most is not None and value > most):
            raise ValueError(f"{self._where}{name} is {value}")
        return value

    def number(self, name: str) -> float:
        """Return a number, whole or not."""
        return float(self._get(name, int, float))

    def share(self, name: str) -> float:
        """Return a number from 0 to 1."""
        value = self.number(name)
        if not 0 <= value <= 1:  # written so that NaN fails too
            raise ValueError(f"{self._where}{name} is {value}")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        return bool(self._get(name, bool))

    def has(self, name: str) -> bool:
        """Tell whether there is such a member, null included."""
        return name in self._members

    def is_null(self, name: str) -> bool:
        """Tell whether a member that must be there is null."""
        return self._get(name) is None

    def part(self, name: str) -> "Facts":
        """Return an object."""
        return Facts(self._get(name, dict), f"{self._where}{name}.")

    def parts(self, name: str) -> "list[Facts]":
        """Return a list of objects."""
        return [Facts(item, f"{self._where}{name}[{i}].") for i, item in enumerate(self._get(name, list))]

    def numbers(self, name: str) -> Iterator[tuple[str, float]]:
        """Yield the members of an object of numbers."""
        part = self.part(name)
        yield from ((key, part.number(key)) for key in self._members[name])

    def list_of(self, name: str, *kinds: type, empty: bool = False) -> list[Any]:
        """Return a list with members of these types; an empty one only where that is allowed."""
        values: list[Any] = self._get(name, list)
        if not (values or empty) or any(type(value) not in kinds for value in values):
            raise ValueError(f"{self._where}{name} is not a list of {' or '.join(k.__name__ for k in kinds)}")
        return values

    def raw(self) -> Mapping[str, Any]:
        """Return the members as they are."""
        members: Mapping[str, Any] = self._members
        return members

    def _get(self, name: str, *kinds: type) -> Any:
        if name not in self._members:
            raise ValueError(f"{self._where}{name} is missing")
        value = self._members[name]
        if kinds and type(value) not in kinds:  # not isinstance: true is not 1
            raise ValueError(f"{self._where}{name} is {value!r}")
        return value

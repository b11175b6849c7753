"""Read members of a JSON object by type; an error names the member that is missing or has another type."""

from collections.abc import Iterator, Mapping
from typing import Any


class Facts:
    """A JSON object whose members are read by type.

    Every method that reads a member raises ValueError if the member is missing or has another type.

    Args:
        members: the parsed JSON value.
        where: path of the object in its JSON document, for error messages; empty for the document itself.

    Raises:
        ValueError: `members` is not a JSON object.
    """

    def __init__(self, members: Any, where: str = "") -> None:
        self._members = members
        self._where = where
        if not isinstance(members, dict):
            raise ValueError(f"{where.rstrip('.') or 'the document'} is not an object")

    def text(self, name: str) -> str:
        """Return the member `name`, a string."""
        return str(self._get(name, str))

    def one_of(self, name: str, *allowed: str) -> str:
        """Return the member `name`, a string; raise ValueError if it is not one of `allowed`."""
        value = self.text(name)
        if value not in allowed:
            raise ValueError(f"{self._where}{name} is {value!r}; this client supports {', '.join(allowed)}")
        return value

    def whole(self, name: str, least: int = 0, most: int | None = None) -> int:
        """Return the member `name`, an integer; raise ValueError unless it is from `least` to `most`."""
        value = int(self._get(name, int))
        if value < least or (most is not None and value > most):
            limits = f"{least} or more" if most is None else f"from {least} to {most}"
            raise ValueError(f"{self._where}{name} is {value}; it must be {limits}")
        return value

    def number(self, name: str) -> float:
        """Return the member `name`, an integer or a float, as a float."""
        return float(self._get(name, int, float))

    def share(self, name: str) -> float:
        """Return the member `name`, a number, as a float; raise ValueError unless it is from 0 to 1."""
        value = self.number(name)
        if not 0 <= value <= 1:  # written so that NaN fails too
            raise ValueError(f"{self._where}{name} is {value}; it must be from 0 to 1")
        return value

    def flag(self, name: str) -> bool:
        """Return the member `name`, a boolean."""
        return bool(self._get(name, bool))

    def has(self, name: str) -> bool:
        """Return whether the object has the member `name`, even if its value is null."""
        return name in self._members

    def is_null(self, name: str) -> bool:
        """Return whether the member `name` is null; raise ValueError if there is no such member."""
        return self._get(name) is None

    def part(self, name: str) -> "Facts":
        """Return the member `name`, an object."""
        return Facts(self._get(name, dict), f"{self._where}{name}.")

    def parts(self, name: str) -> "list[Facts]":
        """Return the member `name`, a list of objects."""
        return [Facts(item, f"{self._where}{name}[{i}].") for i, item in enumerate(self._get(name, list))]

    def numbers(self, name: str) -> Iterator[tuple[str, float]]:
        """Yield the members of the object `name` as (name, value) pairs; every value must be a number."""
        part = self.part(name)
        yield from ((key, part.number(key)) for key in self._members[name])

    def list_of(self, name: str, *kinds: type, empty: bool = False) -> list[Any]:
        """Return the member `name`, a list; the type of each item must be one of `kinds`.

        Raises:
            ValueError: an item has another type, or the list is empty and `empty` is False.
        """
        values: list[Any] = self._get(name, list)
        if not (values or empty) or any(type(value) not in kinds for value in values):
            raise ValueError(f"{self._where}{name} is not a list of {' or '.join(k.__name__ for k in kinds)}")
        return values

    def raw(self) -> Mapping[str, Any]:
        """Return all members of the object, without checks."""
        members: Mapping[str, Any] = self._members
        return members

    def _get(self, name: str, *kinds: type) -> Any:
        if name not in self._members:
            raise ValueError(f"{self._where}{name} is missing")
        value = self._members[name]
        if kinds and type(value) not in kinds:  # not isinstance: Python counts true as the integer 1
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{self._where}{name} is {value!r}; its type must be {expected}")
        return value

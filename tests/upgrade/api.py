"""Find what a description of the HTTP API has lost."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]


def lost(old: Json, new: Json) -> list[str]:
    """Return what callers of the older API may use and the newer one does not have, as sentences."""
    return [*_lost_operations(old["paths"], new["paths"]), *_lost_fields(*map(_schemas, (old, new)))]


def _schemas(document: Json) -> Json:
    schemas: Json = document["components"]["schemas"]
    return schemas


def _lost_operations(old: Json, new: Json) -> Iterator[str]:
    for path, methods in old.items():
        for method, operation in methods.items():
            now = new.get(path, {}).get(method)
            where = f"{method.upper()} {path}"
            if now is None:
                yield f"{where} is gone"
            else:
                yield from (f"{where}: {fact}" for fact in _lost_of_operation(operation, now))


def _lost_of_operation(old: Json, new: Json) -> Iterator[str]:
    before, now = ({each["name"]: each for each in one.get("parameters", ())} for one in (old, new))
    for name, parameter in before.items():
        if name not in now:
            yield f"the parameter {name} is gone"
        elif not _takes(now[name]["schema"], parameter["schema"]):
            yield f"the parameter {name} takes other values"
    yield from (
        f"the parameter {name} is required"
        for name, one in now.items()
        if name not in before and one["required"]
    )
    bodies, bodies_now = (one.get("requestBody", {}).get("content", {}) for one in (old, new))
    for kind, body in bodies.items():
        if kind not in bodies_now or not _takes(bodies_now[kind]["schema"], body["schema"]):
            yield f"a body of {kind} is not taken any more"
    yield from (f"the answer {code} is gone" for code in old["responses"] if code not in new["responses"])


def _takes(new: Json, old: Json) -> bool:
    """Return whether values of the old schema are values of the new one, for the schemas in use here."""
    choices, old_choices = (one.get("anyOf") or one.get("oneOf") or [one] for one in (new, old))
    return all(any(_takes_all(choice, each) for choice in choices) for each in old_choices)


def _takes_all(new: Json, old: Json) -> bool:
    return (
        new.get("type") == old.get("type")
        and set(old.get("enum", ())) <= set(new.get("enum", old.get("enum", ())))
        and set(old.get("properties", ())) <= set(new.get("properties", ()))
        and set(new.get("required", ())) <= set(old.get("required", ()))
        and new.get("minimum", -1e9) <= old.get("minimum", -1e9)
        and new.get("maximum", 1e9) >= old.get("maximum", 1e9)
    )


def _lost_fields(old: Json, new: Json) -> Iterator[str]:
    for name, schema in old.items():
        now = new.get(name)
        if now is None:
            yield f"the schema {name} is gone"
            continue
        for field, kind in schema.get("properties", {}).items():
            found = now["properties"].get(field)
            if found is None:
                yield f"{name}.{field} is gone"
            elif found.get("type") != kind.get("type") or found.get("$ref") != kind.get("$ref"):
                yield f"{name}.{field} is of another type"
        for field in set(schema.get("required", ())) - set(now.get("required", ())):
            yield f"{name}.{field} may be missing"

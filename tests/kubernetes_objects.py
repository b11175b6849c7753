"""Check whether Kubernetes would accept an object: every field is known and has the right type.

kubernetes-validate has the schemas of Kubernetes itself, and cloudcoil has those of KEDA and of the
Prometheus operator. tests/contract/helm/custom_resources.yaml describes the others. An object of any other
kind is an error.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry, Resource

VERSIONS = (
    "1.30",
    "1.34",
    "1.37",
)  # the oldest that the chart takes, one between, and the newest that is known
_OURS = Path(__file__).parent / "contract" / "helm" / "custom_resources.yaml"
_CORE = "/api/_definitions.json#/$defs/io.k8s.api.core.v1."
_META = "/api/_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class UnknownKind(Exception):
    """No schema describes objects of this kind, so nothing can be said about one."""


def find_problem(given: Mapping[str, Any], version: str) -> str | None:
    """Return what is wrong with an object for a version of Kubernetes, or None.

    Raises:
        UnknownKind: there is no schema for this kind.
    """
    return _find_problem(json.dumps(given), version)


@cache  # many values give the same object
def _find_problem(text: str, version: str) -> str | None:
    import kubernetes_validate

    given: dict[str, Any] = json.loads(text)
    kind = f"{given['apiVersion']}/{given['kind']}"
    if schema := _our_schemas().get(kind):
        return _first_error(given, schema, version)
    if model := _models().get(kind):
        return _lost_in(model, given)
    try:
        kubernetes_validate.validate(given, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        raise UnknownKind(kind) from error
    except kubernetes_validate.ValidationError as error:
        return f"{kind} at {'.'.join(map(str, error.path))}: {error.message}"
    return None


def _first_error(given: Mapping[str, Any], schema: dict[str, Any], version: str) -> str | None:
    validator = jsonschema.Draft202012Validator(schema, registry=_definitions(version))
    error = jsonschema.exceptions.best_match(validator.iter_errors(given))
    return error and f"{given['kind']} at {'.'.join(map(str, error.absolute_path))}: {error.message}"


def _lost_in(model: Any, given: Mapping[str, Any]) -> str | None:
    """Return the error of a pydantic model, or the first part of the object that the model does not know."""
    from pydantic import ValidationError

    try:
        read = model.model_validate(given)
    except ValidationError as error:
        return f"{given['kind']}: {error}"
    return _difference(given, read.model_dump(mode="json", by_alias=True, exclude_unset=True), given["kind"])


def _difference(given: Any, read: Any, where: str) -> str | None:
    if isinstance(given, Mapping) and isinstance(read, Mapping):
        pairs = [(given[key], read.get(key), f"{where}.{key}") for key in given]
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(given, read, strict=True))]
    else:
        same = given == read and type(given) is type(read)
        return None if same else f"{where}: {given!r} is read as {read!r}"
    return next((found for pair in pairs if (found := _difference(*pair))), None)


@cache
def _models() -> dict[str, Any]:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject
    from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

    return {
        "keda.sh/v1alpha1/ScaledObject": ScaledObject,
        "monitoring.coreos.com/v1/PrometheusRule": PrometheusRule,
        "monitoring.coreos.com/v1/ServiceMonitor": ServiceMonitor,
    }


@cache
def _our_schemas() -> dict[str, dict[str, Any]]:
    described = {}
    for kind, parts in yaml.safe_load(_OURS.read_text()).items():
        api_version, _, name = kind.rpartition("/")
        described[kind] = {
            "type": "object",
            "additionalProperties": False,
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {
                "apiVersion": {"const": api_version},
                "kind": {"const": name},
                "metadata": {"$ref": _META},
                "spec": _with_references(parts["spec"]),
            },
        }
    return described


def _with_references(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_references(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if set(schema) == {"core"}:
        return {"$ref": _CORE + schema["core"]}
    return {key: _with_references(value) for key, value in schema.items()}


@cache
def _definitions(version: str) -> Registry[Any]:
    """Return the definitions that kubernetes-validate holds, under the address by which schemas name them."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    contents = json.loads((folder / "_definitions.json").read_text())
    contents.setdefault("$schema", "https://json-schema.org/draft/2020-12/schema")
    return Registry().with_resource("/api/_definitions.json", Resource.from_contents(contents))

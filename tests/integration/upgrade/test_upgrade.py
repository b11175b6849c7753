"""What the version before has made and documented works with this one."""

import copy
import json

import pytest

from tests.upgrade.api import lost
from tests.upgrade.checks import CHECKS
from tests.upgrade.trees import BEFORE, NEW, Versions, why_not

OPENAPI = json.loads((NEW / "service" / "rest" / "openapi.json").read_text())


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    if why := why_not(BEFORE):
        pytest.skip(why)
    return Versions(BEFORE, tmp_path_factory.mktemp("upgrade"))


@pytest.mark.heavy
@pytest.mark.parametrize("name", CHECKS)
def test_what_the_version_before_left_works(versions, name):
    assert CHECKS[name](versions)


# ---- whether a loss is found -------------------------------------------------------------------------


def changed(change):
    document = copy.deepcopy(OPENAPI)
    change(document)
    return lost(OPENAPI, document)


def parameter(document, name):
    parameters = document["paths"]["/detect"]["post"]["parameters"]
    return next(one for one in parameters if one["name"] == name)


def test_what_is_only_more_is_no_loss():
    def more(document):
        document["paths"]["/more"] = {"get": {"responses": {}}}
        parameter(document, "format")["schema"].setdefault("enum", []).append("more")
        document["components"]["schemas"]["Answer"]["properties"]["more"] = {"type": "string"}

    assert changed(more) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["paths"].pop("/preview"), "POST /preview is gone"),
        (lambda d: d["paths"]["/detect"].pop("post"), "POST /detect is gone"),
        (
            lambda d: d["paths"]["/detect"]["post"]["parameters"].remove(parameter(d, "conf")),
            "POST /detect: the parameter conf is gone",
        ),
        (
            lambda d: parameter(d, "timeout_ms").update(schema={"type": "string"}),
            "POST /detect: the parameter timeout_ms takes other values",
        ),
        (
            lambda d: d["paths"]["/detect"]["post"]["parameters"].append(
                {"name": "token", "required": True, "schema": {"type": "string"}}
            ),
            "POST /detect: the parameter token is required",
        ),
        (
            lambda d: d["paths"]["/preview"]["post"]["requestBody"]["content"].pop("image/gif"),
            "POST /preview: a body of image/gif is not taken any more",
        ),
        (
            lambda d: d["paths"]["/preview"]["post"]["requestBody"]["content"]["application/json"].update(
                schema={"type": "object", "properties": {"other": {}}, "required": ["other"]}
            ),
            "POST /preview: a body of application/json is not taken any more",
        ),
        (
            lambda d: d["paths"]["/models"]["get"]["responses"].pop("200"),
            "GET /models: the answer 200 is gone",
        ),
        (lambda d: d["components"]["schemas"].pop("Answer"), "the schema Answer is gone"),
        (
            lambda d: d["components"]["schemas"]["Answer"]["properties"].pop("warnings"),
            "Answer.warnings is gone",
        ),
        (
            lambda d: d["components"]["schemas"]["ImageSize"]["properties"]["width"].update(type="string"),
            "ImageSize.width is of another type",
        ),
        (
            lambda d: d["components"]["schemas"]["ImageSize"]["required"].remove("width"),
            "ImageSize.width may be missing",
        ),
    ],
)
def test_a_loss_is_found(change, sentence):
    assert sentence in changed(change)


def test_a_commit_that_is_not_there_is_told():
    assert "not in this clone" in why_not("0" * 40)

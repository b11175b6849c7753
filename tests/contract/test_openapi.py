"""The committed openapi.json equals the one that the service serves."""

import json
from pathlib import Path

from service.__main__ import OPENAPI_FILE, main, openapi_text
from service.rest.query import DetectQuery


def test_the_committed_file_is_current():
    assert OPENAPI_FILE.read_text() == openapi_text(), "run: python -m service openapi"


def test_the_command_writes_it(tmp_path: Path):
    assert main(["openapi", "--output", str(tmp_path / "openapi.json")]) == 0
    assert (tmp_path / "openapi.json").read_text() == openapi_text()


def test_every_parameter_of_a_detection_is_described():
    operation = json.loads(openapi_text())["paths"]["/detect"]["post"]
    described = {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}
    assert set(described) == set(DetectQuery.model_fields)
    assert all("description" in parameter for parameter in operation["parameters"])


def test_every_reference_leads_somewhere():
    text = openapi_text()
    schemas = json.loads(text)["components"]["schemas"]
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in schemas

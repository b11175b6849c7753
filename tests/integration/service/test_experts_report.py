"""GET /models/NAME/experts: what each expert of a model serves."""

import json

import pytest

from service.artifact.repository import read_artifact
from service.errors import ArtifactBroken
from tests.builders import build_artifact, sums_of, write_manifest
from tests.experts_reports import tiny_report
from tests.integration.service.conftest import wait_until_ready


def test_a_release_with_a_report_gives_it_as_it_is(start, tmp_path):
    running = start(repository=build_artifact(tmp_path, report=tiny_report()).repository)
    assert wait_until_ready(running).status_code == 200
    (model,) = running.client.get("/models").json()["models"]
    assert model["experts_report"] is True
    assert running.client.get("/models/tiny/experts").json() == tiny_report()


def test_a_release_without_a_report_says_so(served):
    (model,) = served.client.get("/models").json()["models"]
    assert model["experts_report"] is False
    answer = served.client.get("/models/tiny/experts")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:sparsight:problem:no-report")
    assert answer.json()["detail"].endswith("this release has no report")


def test_an_unknown_model_has_no_report(served):
    assert served.client.get("/models/other/experts").json()["type"].endswith("unknown-model")


def test_a_report_that_is_gone_from_the_disk_is_missed_by_name(start, tmp_path):
    built = build_artifact(tmp_path, report=tiny_report())
    running = start(repository=built.repository)
    assert wait_until_ready(running).status_code == 200
    (built.folder / "experts.json").unlink()
    answer = running.client.get("/models/tiny/experts")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:sparsight:problem:no-report")
    assert "experts.json cannot be read" in answer.json()["detail"]


def _without(path):
    def change(report):
        *parents, last = path
        for key in parents:
            report = report[key]
        del report[last]

    return change


CHANGES = {
    "schema_version": lambda report: report.update(schema_version=2),
    "images": lambda report: report.update(images=0),
    "extra": lambda report: report.update(extra=1),
    "data": _without(("data",)),
    "groupings.0.groups": lambda report: report["groupings"][0]["groups"].pop(),
    "groupings.0.name": lambda report: report["groupings"][0].update(name="colour"),
    "one row for each group": lambda report: report["layers"][0]["shares"]["origin"].pop(),
    "one number for each expert": lambda report: report["layers"][0]["shares"]["origin"][0].pop(),
    "layers.1.expert_share.0": lambda report: report["layers"][1]["expert_share"].__setitem__(0, 1.01),
    "is for the layers backbone.p4 with 4 experts; the manifest has": lambda report: report["layers"].pop(),
    "is for the layers backbone.p5 with 3 experts, ": lambda report: report["layers"].reverse(),
}


@pytest.mark.parametrize("named", CHANGES)
def test_an_invalid_report_is_refused_when_the_artifact_is_read(tmp_path, named):
    report = tiny_report()
    CHANGES[named](report)
    built = build_artifact(tmp_path, report=report)
    with pytest.raises(ArtifactBroken, match=named):
        read_artifact(built.folder)


def test_a_share_of_exactly_one_is_accepted(tmp_path):
    report = tiny_report()
    report["layers"][1]["expert_share"][0] = 1.0
    assert read_artifact(build_artifact(tmp_path, report=report).folder)


def test_an_altered_report_is_refused(tmp_path):
    built = build_artifact(tmp_path, report=tiny_report())
    (built.folder / "experts.json").write_text(json.dumps(tiny_report() | {"data": "other"}))
    with pytest.raises(ArtifactBroken, match=r"experts\.json has sha256"):
        read_artifact(built.folder)


def test_a_report_that_is_none_of_the_files_is_refused(tmp_path):
    built = build_artifact(tmp_path, report=tiny_report())
    (built.folder / "experts.json").unlink()
    files = {name: sha256 for name, sha256 in sums_of(built.folder).items() if name != "manifest.json"}
    write_manifest(built.folder, built.manifest | {"files": files})
    with pytest.raises(ArtifactBroken, match=r"files: experts\.json is missing"):
        read_artifact(built.folder)

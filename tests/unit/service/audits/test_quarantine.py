"""A backend that disagrees is quarantined with the evidence, until it is released or replaced."""

import asyncio
import shutil
from dataclasses import replace

import pytest

from service.errors import BackendUnavailable, InvalidParameter, UnknownModel
from service.request import DetectParams, RequestContext
from tests.audit_builders import scene
from tests.builders import build_artifact
from tests.unit.service.audits.auditing import RED, auditing, quarantine
from tests.unit.service.traffic.route_builders import make_route


def test_a_faulty_expert_is_found_and_its_backend_gets_no_more_requests(faulty, caplog):
    async def go():
        async with auditing(faulty) as audited:
            for number in range(5):
                await audited.ask(scene("red", number))
            assert audited.outcomes == {"agrees": 5}
            assert await quarantine(audited) <= 30
            with pytest.raises(BackendUnavailable, match=r"version 2 on openvino is in quarantine: .* POST"):
                await audited.service.detect(RED, DetectParams(), RequestContext.within(20))
            assert "quarantine" in audited.service.models.why_not_ready()
            assert audited.value("sparsight_backend_quarantined", model="tiny", backend="openvino") == 1
            assert audited.value("sparsight_backend_up", backend="openvino") == 0
            first = audited.record.trial.suspects()[0]
            assert (first.layer, first.expert) == ("backbone.p4", 2)
            return audited.record

    record = asyncio.run(go())
    (event,) = [one for one in caplog.records if one.message == "backend_quarantined"]
    assert (event.model, event.version, event.backend) == ("tiny", "2", "openvino")
    assert event.reference == "openvino version 1 on openvino"
    assert event.images[-1] == record.disagreements[-1].request_id
    newest = record.disagreements[-1]
    assert [(one.kind, one.where) for one in newest.differences] == [("missing", "blue, box 0")]


def test_no_image_is_kept_with_the_evidence(faulty):
    async def go():
        async with auditing(faulty) as audited:
            await quarantine(audited)
            return audited.record

    record = asyncio.run(go())
    held = repr([vars(one) for one in record.disagreements])
    assert "array" not in held
    assert "bytes" not in held
    assert len(held) < 20_000


def test_after_the_quarantine_the_other_backend_serves(faulty, monkeypatch):
    async def go():
        async with auditing(faulty) as audited:
            routes = dict(audited.service.models.routes("tiny"))
            other = replace(routes["openvino"].current, backend_name="triton")
            routes["triton"] = make_route(other.manifest, backend=other.backend)
            monkeypatch.setattr(audited.service.models, "routes", lambda name: routes)
            await quarantine(audited)
            answered = await audited.service.detect(RED, DetectParams(), RequestContext.within(20))
            assert answered.version.backend_name == "triton"
            assert "quarantine" in answered.reason

    asyncio.run(go())


def test_a_new_version_ends_the_quarantine_and_its_audits_begin_again(faulty):
    async def go():
        async with auditing(faulty) as audited:
            await quarantine(audited)
            build_artifact(faulty, version="3")
            await audited.service.reload()
            audited.asked = audited.record.outcomes.total()
            answered = await audited.ask(scene("blue", 1))
            assert answered.version.manifest.version == "3"
            assert audited.value("sparsight_backend_quarantined", model="tiny", backend="openvino") == 0
            assert audited.service.models.why_not_ready() is None
            assert audited.service.models.notes["audits"] == ""
            records = {record.manifest.version: record.decided for record in audited.auditor.records}
            assert records["3"] is False
            shutil.rmtree(faulty / "tiny-openvino" / "3")
            await audited.service.reload()  # version 2 again: it is still in quarantine
            assert "quarantine" in audited.service.models.why_not_ready()

    asyncio.run(go())


def test_an_administrator_ends_the_quarantine_and_the_fault_is_found_again(faulty, caplog):
    async def go():
        async with auditing(faulty) as audited:
            with pytest.raises(InvalidParameter, match="not in quarantine on 'openvino'"):
                audited.auditor.release("tiny", "openvino")
            with pytest.raises(UnknownModel):
                audited.auditor.release("huge", "openvino")
            await quarantine(audited)
            with pytest.raises(InvalidParameter, match="not in quarantine on 'onnx'"):
                audited.auditor.release("tiny", "onnx")
            audited.auditor.release("tiny", "openvino")
            assert audited.service.models.why_not_ready() is None
            assert audited.value("sparsight_backend_quarantined", model="tiny", backend="openvino") == 0
            audited.asked = 0
            await quarantine(audited)

    asyncio.run(go())
    assert [one.message for one in caplog.records].count("backend_released") == 1


def test_with_quarantine_off_a_disagreement_is_only_reported(faulty, caplog):
    async def go():
        async with auditing(faulty, quarantine=False) as audited:
            await quarantine(audited)
            answered = await audited.service.detect(RED, DetectParams(), RequestContext.within(20))
            assert answered.version.manifest.version == "2"
            assert audited.value("sparsight_backend_quarantined", model="tiny", backend="openvino") == 0
            audited.auditor.release("tiny", "openvino")
            assert audited.auditor.records == []

    asyncio.run(go())
    assert [one.message for one in caplog.records].count("backend_disagrees") == 1


def test_one_scene_counts_once_however_often_it_disagrees(faulty):
    async def go():
        async with auditing(faulty) as audited:
            for _ in range(60):
                await audited.ask(scene("blue", 0))
            assert audited.outcomes == {"disagrees": 60}
            assert (audited.record.trial.all.images, audited.record.decided) == (1, False)
            assert [one.counted for one in audited.record.disagreements] == [False] * 20

    asyncio.run(go())


def test_images_that_wait_for_a_backend_in_quarantine_move_to_the_other_backend(sound, monkeypatch):
    async def go():
        async with auditing(sound, share=0.0) as audited:
            models = audited.service.models
            routes = dict(models.routes("tiny"))
            version = routes["openvino"].current
            routes["triton"] = make_route(version.manifest, backend=version.backend)
            monkeypatch.setattr(models, "routes", lambda name: routes)
            routes["openvino"].turns._free, free = 0, routes["openvino"].turns._free
            waiting = asyncio.create_task(
                audited.service._answer(RED, DetectParams(), RequestContext.within(5))
            )
            while not routes["openvino"].turns.waiting:
                await asyncio.sleep(0.01)
            models.quarantine("tiny", "openvino", version.sha256, "it is in quarantine")
            answered = await waiting
            routes["openvino"].turns._free = free
            return answered.version.backend_name, answered.reason

    assert asyncio.run(go()) == ("triton", "it is in quarantine")

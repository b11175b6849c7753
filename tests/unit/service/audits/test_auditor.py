"""The auditor compares answers in the background, within its limits."""

import asyncio
import shutil
from dataclasses import replace

import numpy as np
import pytest

from service.artifact.repository import read_artifact
from service.audits import auditor as module
from service.audits.auditor import Auditor
from service.errors import BackendUnavailable
from service.request import DetectParams, RequestContext
from tests.audit_builders import scene
from tests.builders import build_artifact, build_classifier, image_bytes
from tests.unit.service.audits.auditing import OUTCOMES, RED, auditing


def test_a_sound_backend_agrees_on_every_image(sound):
    async def go():
        async with auditing(sound) as audited:
            for number in range(60):
                await audited.ask(scene(("red", "green", "blue")[number % 3], number))
            assert audited.outcomes == {"agrees": 60}
            assert audited.record.trial.value < 1
            assert audited.value("sparsight_audit_seconds_total") > 0

    asyncio.run(go())


@pytest.mark.parametrize(("drawn", "share", "audited"), [(0.0, 0.05, 1), (0.049, 0.05, 1), (0.05, 0.05, 0)])
def test_an_image_is_audited_if_its_random_number_is_below_the_share(sound, drawn, share, audited):
    async def go():
        async with auditing(sound, chance=lambda: drawn, share=share) as made:
            await made.service.detect(RED, DetectParams(), RequestContext.within(20))
            made.asked = audited
            await made.settle()
            await asyncio.sleep(0.05)
            return sum(record.outcomes.total() for record in made.auditor.records)

    assert asyncio.run(go()) == audited


@pytest.mark.parametrize("drawn", [0.0, 0.999999])
def test_a_share_of_one_audits_every_image_and_a_share_of_zero_none(sound, drawn):
    async def go(share):
        async with auditing(sound, chance=lambda: drawn, share=share) as made:
            await made.service.detect(RED, DetectParams(), RequestContext.within(20))
            return len(made.auditor._waiting) + len(made.auditor.records)

    assert asyncio.run(go(1.0)) == 1
    assert asyncio.run(go(0.0)) == 0


def test_images_beyond_four_waiting_ones_are_counted_as_skipped(sound):
    async def go():
        async with auditing(sound) as audited:
            route = audited.service.models.routes("tiny")["openvino"]
            route.turns._free, free = 0, route.turns._free  # all turns are taken, so that no audit starts
            image = await _answer(audited, route)
            for _ in range(8):
                audited.auditor.answered(image)
            await asyncio.sleep(0.1)
            assert audited.outcomes["skipped"] in (3, 4)  # one may have left the queue to wait for its turn
            assert audited.record.why == "too many images wait for their audit"
            route.turns._free = free
            audited.asked = 8
            await audited.settle()
            labels = {"model": "tiny", "version": "1", "backend": "openvino", "outcome": "skipped"}
            assert audited.value("sparsight_audited_images_total", **labels) == audited.outcomes["skipped"]

    asyncio.run(go())


async def _answer(audited, route):
    """Return an answer that no audit has seen."""
    free, route.turns._free = route.turns._free, 4
    audited.auditor.share, share = 0.0, audited.auditor.share
    answered = await audited.service.detect(RED, DetectParams(), RequestContext.within(20))
    route.turns._free, audited.auditor.share = free, share
    return answered


def test_an_audit_waits_for_a_free_turn_and_starts_after_its_patience_without_one(sound, monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_S", 0.3)

    async def go():
        async with auditing(sound) as audited:
            await audited.ask(RED)  # opens the reference
            route = audited.service.models.routes("tiny")["openvino"]
            image = await _answer(audited, route)
            route.turns._free, free = 0, route.turns._free
            audited.auditor.answered(image)
            await asyncio.sleep(0.15)
            assert audited.outcomes == {"agrees": 1}
            route.turns._free = free
            audited.asked = 2
            await audited.settle()
            route.turns._free = 0
            began = asyncio.get_running_loop().time()
            audited.auditor.answered(image)
            audited.asked = 3
            await audited.settle()
            assert asyncio.get_running_loop().time() - began >= 0.3
            route.turns._free = free

    asyncio.run(go())


def test_a_request_does_not_wait_for_an_audit(sound, monkeypatch):
    """The audit hangs; answers come all the same, and images beyond the queue are skipped."""

    async def hang(self, image, models):
        await asyncio.sleep(60)

    monkeypatch.setattr(Auditor, "_audit", hang)

    async def go():
        async with auditing(sound) as audited:
            for _ in range(10):
                await audited.service.detect(RED, DetectParams(), RequestContext.within(2))
            return audited.outcomes

    assert asyncio.run(go()) == {"skipped": 5}


def test_without_a_reference_images_are_skipped_and_the_reason_is_told(sound, caplog):
    async def go():
        async with auditing(sound) as audited:
            shutil.rmtree(sound / "tiny-openvino")
            await audited.ask(RED)
            await audited.ask(RED)
            assert audited.outcomes == {"skipped": 2}
            assert "no artifact of model 'tiny'" in audited.record.why

    asyncio.run(go())
    assert [one.message for one in caplog.records].count("audit_without_reference") == 1


@pytest.mark.parametrize(
    "error",
    [pytest.param(BackendUnavailable("it has gone"), id="an error"), pytest.param(None, id="a defect")],
)
def test_a_reference_that_fails_accuses_nobody(sound, error):
    async def go():
        async with auditing(sound) as audited:
            await audited.ask(RED)
            reference = audited.auditor.reference_of(audited.record)

            async def fail(job, context):
                raise error or ZeroDivisionError

            reference.backend.run = fail
            for number in range(40):
                await audited.ask(scene("blue", number))
            assert audited.outcomes == {"agrees": 1, "failed": 40}
            assert not audited.record.decided
            assert ("it has gone" if error else "the log has it") in audited.record.why

    asyncio.run(go())


def test_a_reference_that_misses_the_time_limit_counts_as_failed(sound, monkeypatch):
    async def go():
        async with auditing(sound) as audited:
            await audited.ask(RED)
            monkeypatch.setattr(module, "_ALLOWED_S", 1e-9)
            await audited.ask(RED)
            assert audited.outcomes == {"agrees": 1, "failed": 1}
            assert "no answer within" in audited.record.why

    asyncio.run(go())


def test_a_reference_with_nan_accuses_nobody_and_an_answer_with_nan_disagrees(sound):
    async def go():
        async with auditing(sound) as audited:
            answered = await audited.ask(RED)
            backend = audited.auditor.reference_of(audited.record).backend
            compute = backend.compute

            def spoiled(inputs):
                outputs = dict(compute(inputs))
                outputs["router_probs"] = np.full_like(outputs["router_probs"], np.nan)
                return outputs

            backend.compute = spoiled
            await audited.ask(RED)
            assert audited.outcomes == {"agrees": 1, "failed": 1}
            assert "not finite" in audited.record.why
            backend.compute = compute
            layers = [
                replace(one, active=(), weights=(), probabilities=(np.nan,) * one.num_experts)
                for one in answered.experts
            ]
            audited.auditor.answered(replace(answered, experts=tuple(layers)))
            audited.asked += 1
            await audited.settle()
            assert audited.outcomes == {"agrees": 1, "failed": 1, "disagrees": 1}
            assert {one.kind for one in audited.record.disagreements[-1].differences} == {"not-a-number"}

    asyncio.run(go())


def test_a_reload_during_an_audit_drops_its_result(faulty):
    async def go():
        async with auditing(faulty) as audited:
            await audited.ask(RED)
            backend = audited.auditor.reference_of(audited.record).backend
            run = backend.run

            async def slow(job, context):
                build_artifact(faulty, version="3")
                await audited.service.reload()
                return await run(job, context)

            backend.run = slow
            await audited.service.detect(scene("blue", 0), DetectParams(), RequestContext.within(20))
            for _ in range(200):
                await asyncio.sleep(0.01)
                labels = {"model": "tiny", "version": "2", "backend": "openvino", "outcome": "skipped"}
                if audited.value("sparsight_audited_images_total", **labels):
                    break
            else:
                raise AssertionError("the audit of the old version was not skipped")
            labels["outcome"] = "disagrees"
            assert audited.value("sparsight_audited_images_total", **labels) == 0

    asyncio.run(go())


def test_an_image_that_waits_while_its_version_is_replaced_is_skipped(faulty):
    async def go():
        async with auditing(faulty) as audited:
            answered = await audited.ask(scene("blue", 0))
            build_artifact(faulty, version="3")
            await audited.service.reload()
            audited.auditor.answered(answered)
            await asyncio.sleep(0.1)
            labels = {"model": "tiny", "version": "2", "backend": "openvino"}
            counts = [
                audited.value("sparsight_audited_images_total", **labels, outcome=one) for one in OUTCOMES
            ]
            assert counts == [0, 1, 0, 1]

    asyncio.run(go())


def test_a_model_that_is_removed_while_its_reference_is_opened_is_skipped(tmp_path, caplog):
    build_artifact(tmp_path, name="tiny")
    build_artifact(tmp_path, name="zebra")

    async def go():
        async with auditing(tmp_path) as audited:
            references = audited.auditor._references
            of = references.of

            async def slow(preferred):
                reference = await of(preferred)
                shutil.rmtree(tmp_path / "zebra-openvino")
                await audited.service.reload()
                return reference

            references.of = slow
            await audited.ask(RED, model="zebra")
            assert audited.outcomes == {"skipped": 1}
            gone = audited.value("sparsight_backend_quarantined", model="zebra", backend="openvino")
            assert gone is None

    asyncio.run(go())
    assert "audit_failed" not in [line.msg for line in caplog.records]


def test_the_reference_of_a_removed_model_is_closed_with_the_next_audit(tmp_path):
    build_artifact(tmp_path, name="tiny")
    build_artifact(tmp_path, name="zebra")

    async def go():
        async with auditing(tmp_path) as audited:
            await audited.ask(RED, model="zebra")
            assert audited.auditor.reference_of(audited.record)
            shutil.rmtree(tmp_path / "zebra-openvino")
            await audited.service.reload()
            audited.asked = 0  # the record of the removed model is gone
            await audited.ask(RED)
            references = audited.auditor._references
            assert (references.known("zebra"), references.known("tiny") is None) == (None, False)

    asyncio.run(go())


def test_every_series_begins_at_zero(sound):
    async def go():
        async with auditing(sound) as audited:
            for outcome in OUTCOMES:
                labels = {"model": "tiny", "version": "1", "backend": "openvino", "outcome": outcome}
                assert audited.value("sparsight_audited_images_total", **labels) == 0
            assert audited.value("sparsight_backend_quarantined", model="tiny", backend="openvino") == 0
            assert audited.value("sparsight_audit_seconds_total") == 0

    asyncio.run(go())


@pytest.mark.parametrize("experts", [True, False])
def test_a_classifier_is_audited_with_and_without_experts(tmp_path, experts):
    build_classifier(tmp_path, experts=experts)

    async def go():
        async with auditing(tmp_path) as audited:
            answered = await audited.ask(scene("blue", 0))
            audited.auditor.answered(answered)
            wrong = replace(answered.result, class_ids=answered.result.class_ids[::-1].copy())
            for _ in range(2):
                audited.auditor.answered(replace(answered, result=wrong))
            audited.asked += 3
            await audited.settle()
            assert audited.outcomes == {"agrees": 2, "disagrees": 2}
            return {one.kind for one in audited.record.disagreements[-1].differences}

    assert asyncio.run(go()) == {"class"}


def test_an_answer_with_other_parameters_is_audited_with_the_same_ones(sound):
    async def go():
        async with auditing(sound) as audited:
            asked = {"values": {"conf": 0.05}, "controls": {"top_k": 4, "weight_threshold": 0.2}}
            for number in range(20):
                await audited.ask(scene("green", number), classes="green,red", **asked)
            assert audited.outcomes == {"agrees": 20}

    asyncio.run(go())


def test_a_file_with_16_bits_is_decoded_for_the_audit_as_for_the_answer(sound):
    pixels = np.full((64, 64), 3000, np.uint16)  # bright as 12 bits, which its values show; dark as 16 bits
    pixels[:32, :32] = 4000
    data = image_bytes(pixels)

    async def go():
        async with auditing(sound) as audited:
            answered = await audited.ask(data, bits=16, values={"conf": 0.01})
            assert answered.params.bits == 16
            assert audited.outcomes == {"agrees": 1}

    asyncio.run(go())


def test_the_reference_s_own_answers_are_not_audited(faulty):
    """Version 1 is served on a second backend, with the engine that runs it as the reference."""

    async def go():
        async with auditing(faulty) as audited:
            answered = await audited.ask(RED)
            reference = audited.auditor.reference_of(audited.record)
            same = read_artifact(faulty / "tiny-openvino" / "1")
            route = audited.service.models.routes("tiny")["openvino"]
            own = replace(answered.version, manifest=same.manifest, sha256=same.sha256)
            route.set_versions({**route.versions, "1": own})
            assert reference.candidate.is_served_by(own)
            audited.auditor.answered(replace(answered, version=own))
            await asyncio.sleep(0.2)
            return [record.outcomes.total() for record in audited.auditor.records]

    assert asyncio.run(go()) == [1]

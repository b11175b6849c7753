"""The decision finds backends that disagree too often, and hardly ever raises a false alarm."""

import random

import pytest

from service.audits.decision import ALARM, Evidence, Trial

ALLOWED = 0.036  # int8 beside f32, from the starter's manifests
EXPERTS = [(layer, expert) for layer in ("p3", "p4", "p5") for expert in range(4)]


def images_until_alarm(trial, images, chance, share_of_expert=1.0):
    """Return after how many images the trial alarms; None if it never does."""
    for image in range(1, images + 1):
        uses = chance.random() < share_of_expert
        rate = trial.rates[1] if uses else trial.rates[0]
        trial.add(chance.random() < rate, [("p4", 0)] if uses else [("p4", 1)])
        if trial.disagrees:
            return image
    return None


def trial(sound, faulty):
    made = Trial(ALLOWED, EXPERTS)
    made.rates = (sound, faulty)
    return made


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.02])
def test_a_sound_backend_raises_no_alarm_in_ten_thousand_images(rate):
    """With audits of int8 and f32 on 300 real images, 1 % disagreed; 2 % is twice as much."""
    for seed in range(5):
        assert images_until_alarm(trial(rate, rate), 10_000, random.Random(seed)) is None


def test_a_backend_at_the_allowed_share_raises_no_alarm_in_ten_thousand_images():
    alarms = [images_until_alarm(trial(ALLOWED, ALLOWED), 10_000, random.Random(seed)) for seed in range(10)]
    assert alarms.count(None) >= 9  # in a million images, one alarm is expected at most


@pytest.mark.parametrize(
    ("faulty", "share", "within"),
    [
        pytest.param(0.9, 1.0, 15, id="an expert that every image uses"),
        pytest.param(0.5, 0.5, 100, id="an expert of half the images, wrong for half of them"),
        pytest.param(0.9, 0.1, 200, id="an expert of a tenth of the images"),
    ],
)
def test_a_faulty_expert_is_found(faulty, share, within):
    for seed in range(10):
        found = images_until_alarm(trial(0.01, faulty), 1000, random.Random(seed), share)
        assert found is not None
        assert found <= within


def test_a_fault_that_begins_late_is_found_as_soon_as_one_at_the_start():
    made, chance = trial(0.01, 0.01), random.Random(0)
    assert images_until_alarm(made, 5000, chance) is None
    made.rates = (0.5, 0.5)
    assert images_until_alarm(made, 100, chance) is not None


def test_disagreements_in_a_row_reach_the_alarm_at_a_number_that_a_reader_can_check():
    evidence = Evidence(0.1)  # the rates above 0.15 are 0.2, 0.4 and 0.8; the ratios of one image 2, 4 and 8
    evidence.add(True)
    assert evidence.value == pytest.approx((2 + 4 + 8) / 3)
    evidence.add(True)
    assert evidence.value == pytest.approx((4 + 16 + 64) / 3)
    evidence.add(False)
    assert evidence.value == pytest.approx((4 * 8 / 9 + 16 * 6 / 9 + 64 * 2 / 9) / 3)
    assert (evidence.images, evidence.disagreeing) == (3, 2)


def test_agreements_are_no_credit_for_later():
    short, long = Evidence(0.1), Evidence(0.1)
    for _ in range(1000):
        long.add(False)
    short.add(False)
    for evidence in (short, long):
        evidence.add(True)
    assert short.value == long.value


def test_a_model_without_experts_is_judged_over_all_images():
    made = Trial(ALLOWED, [])
    for _ in range(30):
        made.add(True, [])
    assert made.disagrees
    assert made.suspects() == []


def test_the_expert_of_the_disagreeing_images_is_the_first_suspect():
    made = Trial(ALLOWED, EXPERTS)
    for _ in range(20):
        made.add(True, [("p4", 0), ("p3", 1)])
        made.add(False, [("p4", 1), ("p3", 1)])
    first = made.suspects()[0]
    assert (first.layer, first.expert, first.images, first.disagreeing) == ("p4", 0, 20, 20)


def test_evidence_stays_a_number_however_long_a_backend_disagrees():
    made = Trial(ALLOWED, EXPERTS)
    for _ in range(5000):
        made.add(True, [("p4", 0)])
    assert made.value > ALARM
    assert made.value < float("inf")


@pytest.mark.parametrize("allowed", [0.02, 0.25, 0.5, 0.9])
def test_every_allowed_share_leaves_a_rate_to_find(allowed):
    evidence = Evidence(allowed)
    for _ in range(100):
        evidence.add(True)
    assert evidence.value > ALARM

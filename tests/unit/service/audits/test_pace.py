"""Audits take at most their share of the time that answers take."""

import pytest

from service.audits.pace import Pace
from service.types import Timings


def timings(work_s, queue_s=0.0):
    return Timings(work_s / 4, queue_s, work_s / 4, work_s / 4, work_s / 4, work_s + queue_s)


def pace(answer_s, audit_s, queue_s=0.0):
    made = Pace()
    for _ in range(3):
        made.answered(timings(answer_s, queue_s))
        made.audited(audit_s)
    return made


@pytest.mark.parametrize(
    ("answer_s", "audit_s", "chance"),
    [
        pytest.param(0.02, 0.02, 0.05, id="as fast"),
        pytest.param(0.02, 0.01, 0.05, id="faster: no more than the share"),
        pytest.param(0.02, 0.04, 0.025, id="twice as slow"),
        pytest.param(0.004, 0.04, 0.005, id="a reference beside a GPU"),
    ],
)
def test_a_slower_reference_audits_fewer_images(answer_s, audit_s, chance):
    assert pace(answer_s, audit_s).chance(0.05) == pytest.approx(chance)


def test_the_wait_of_an_image_is_no_work():
    assert pace(0.02, 0.04, queue_s=5.0).chance(0.05) == pytest.approx(0.025)


def test_a_share_of_one_audits_every_image_however_slow_the_reference_is():
    assert pace(0.001, 10.0).chance(1.0) == 1.0


def test_before_the_first_audit_the_share_applies():
    made = Pace()
    assert made.chance(0.05) == 0.05
    made.answered(timings(0.02))
    assert made.chance(0.05) == 0.05


def test_a_mean_follows_later_times():
    made = pace(0.02, 0.02)
    for _ in range(100):
        made.audited(0.08)
    assert made.chance(0.05) == pytest.approx(0.0125, rel=0.01)

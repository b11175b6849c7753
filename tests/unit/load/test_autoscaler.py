"""The decisions of the autoscaler that stands for KEDA's."""

import pytest

from tests.chart import ScalingQuery
from tests.cluster.autoscaler import Autoscaler


def scaler(stabilization_s=0.0):
    queries = [ScalingQuery("a", "sum(a)", 3.0), ScalingQuery("b", "sum(b)", 1.0)]
    return Autoscaler(queries, least=2, most=8, stabilization_s=stabilization_s)


@pytest.mark.parametrize(
    ("sums", "running", "desired"),
    [
        ([0.0, 0.0], 2, 2),  # never fewer than the least
        ([100.0, 0.0], 2, 8),  # nor more than the most
        ([7.0, 0.0], 2, 3),  # ceil(7 / 3)
        ([6.0, 4.0], 2, 4),  # the larger wish counts
        ([6.6, 0.0], 2, 2),  # within a tenth: nothing changes
        ([6.7, 0.0], 2, 3),
        ([8.2, 0.0], 3, 3),
        ([5.0, 0.0], 3, 2),
    ],
)
def test_as_many_as_the_sum_needs(sums, running, desired):
    assert scaler().desired(sums, running, now_s=0.0) == desired


def test_pods_are_taken_away_only_after_a_quiet_time():
    calm = scaler(stabilization_s=10.0)
    assert calm.desired([12.0, 0.0], 2, now_s=0.0) == 4
    assert calm.desired([0.0, 0.0], 4, now_s=5.0) == 4
    assert calm.desired([0.0, 0.0], 4, now_s=9.9) == 4
    assert calm.desired([0.0, 0.0], 4, now_s=10.0) == 2

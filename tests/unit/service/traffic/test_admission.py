"""Admission accepts exactly the allowed number of requests."""

import pytest

from service.errors import Overloaded
from service.traffic.admission import Admission


def test_the_limit_is_let_in_and_one_more_is_not():
    admission = Admission(2)
    with (
        admission.enter(),
        admission.enter(),
        pytest.raises(Overloaded, match="2 requests"),
        admission.enter(),
    ):
        pass


def test_a_place_is_free_again_after_a_failure():
    admission = Admission(1)
    with pytest.raises(ValueError, match="boom"), admission.enter():
        raise ValueError("boom")
    with admission.enter():
        pass


def test_a_refusal_takes_no_place_and_says_when_to_come_back():
    admission = Admission(1)
    with admission.enter():
        for _ in range(3):
            with pytest.raises(Overloaded) as caught, admission.enter():
                pass
            assert caught.value.retry_after_s == 1
    with admission.enter():
        pass

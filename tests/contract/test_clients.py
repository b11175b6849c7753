"""Clients and service agree on statuses, problems and geometry, although neither imports the other."""

import numpy as np
import pytest

from clients import rest_problems, triton_status
from clients.errors import ClientError
from clients.letterbox import Letterbox
from service.backends.triton import status as gateway_status
from service.errors import slug_of
from service.pipeline.letterbox import Letterbox as ServiceLetterbox
from service.rest.problems import STATUS


def test_the_gateway_and_the_clients_read_tritons_statuses_alike():
    ours, theirs = (
        [(status, words, meaning.name) for status, words, meaning in table]
        for table in (triton_status.TABLE, gateway_status.TABLE)
    )
    assert ours == theirs
    assert [meaning.name for meaning in triton_status.Meaning] == [
        meaning.name for meaning in gateway_status.Meaning
    ]


def test_every_problem_of_the_service_is_known_to_the_client():
    said = {slug_of(error) for error in STATUS} | {"internal"}
    assert set(rest_problems.PROBLEMS) == said
    assert all(issubclass(error, ClientError) for error in rest_problems.PROBLEMS.values())


@pytest.mark.parametrize("source_hw", [(480, 640), (1080, 1919), (1, 4000), (4000, 1), (3, 2), (33, 47)])
def test_letterboxes_are_the_services(source_hw):
    image = np.random.default_rng(0).integers(0, 256, (*source_hw, 3), dtype=np.uint8)
    ours, theirs = (each.fit(source_hw, (96, 128)) for each in (Letterbox, ServiceLetterbox))
    assert (ours.scale, ours.left, ours.top) == (theirs.scale, theirs.left, theirs.top)
    assert np.array_equal(ours.apply(image, (96, 128), 114), theirs.apply(image, (96, 128), 114))

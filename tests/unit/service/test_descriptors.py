"""How many connections the limit on open files leaves."""

import pytest

from service.descriptors import KEPT, connections_of
from service.errors import SettingsInvalid


@pytest.mark.parametrize(
    ("limit", "connections"),
    [
        (1_000_000, 4096),
        (4096 + KEPT, 4096),
        (4095 + KEPT, 4095),
        (1024, 768),
        (512, 256),
        (300, 150),
        (1, 1),
    ],
)
def test_by_default_most_descriptors_are_for_connections(limit, connections):
    assert connections_of(limit, None) == connections


def test_the_setting_may_use_all_but_those_that_are_kept():
    assert connections_of(20_000, 20_000 - KEPT) == 20_000 - KEPT
    with pytest.raises(SettingsInvalid, match="this process may open 20000 files"):
        connections_of(20_000, 20_001 - KEPT)

"""Ids are unique and sort by time."""

import time

from service.rest.ids import new_id


def test_an_id_is_26_characters_without_ambiguous_letters():
    made = new_id()
    assert len(made) == 26
    assert not set(made) & set("ILOU")


def test_a_later_id_sorts_after_an_earlier_one():
    earlier = new_id()
    time.sleep(0.003)
    assert earlier < new_id()


def test_ids_of_one_moment_differ():
    assert len({new_id() for _ in range(10_000)}) == 10_000

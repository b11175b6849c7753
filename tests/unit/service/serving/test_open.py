"""The repository is read no more often than it must be, however many ask at once."""

import asyncio

import pytest

from service.errors import ReloadIncomplete
from service.serving.local_models import Changes
from service.serving.open import _Readings


class Slow:
    """Local models whose repository takes a while to read."""

    def __init__(self):
        self.readings = 0

    async def read(self):
        self.readings += 1
        number = self.readings
        await asyncio.sleep(0.05)
        return Changes(loaded=[f"reading {number}"])


def test_all_who_ask_during_a_reading_share_the_next_one():
    async def scene():
        slow = Slow()
        readings = _Readings([slow])
        first = asyncio.create_task(readings.read())
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(readings.read()) for _ in range(20)]
        await asyncio.sleep(0.01)
        others[0].cancel()  # takes nothing from the others
        told = await asyncio.gather(first, *others[1:])
        later = await readings.read()
        return [changes.loaded for changes in told], later.loaded, slow.readings

    (first, *others), later, count = asyncio.run(scene())
    assert first == ["reading 1"]
    assert others == 19 * [["reading 2"]]
    assert later == ["reading 3"]
    assert count == 3


def test_all_who_share_a_reading_hear_that_it_is_incomplete():
    class Broken(Slow):
        async def read(self):
            changes = await super().read()
            changes.broken["mine"] = ReloadIncomplete("it is cut short")
            return changes

    async def scene():
        readings = _Readings([Broken()])
        return await asyncio.gather(*(readings.read() for _ in range(3)), return_exceptions=True)

    for told in asyncio.run(scene()):
        with pytest.raises(ReloadIncomplete, match="it is cut short"):
            raise told

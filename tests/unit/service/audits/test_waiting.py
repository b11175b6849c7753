"""At most four images, and 32 MB of image files, wait for their audit."""

import asyncio
from types import SimpleNamespace

import pytest

from service.audits.waiting import Waiting


def image(size=10):
    return SimpleNamespace(data=bytes(size))


def test_four_images_wait_and_the_fifth_is_dropped():
    async def fill():
        waiting = Waiting()
        assert [waiting.put(image()) for _ in range(5)] == [True] * 4 + [False]
        await waiting.get()
        assert waiting.put(image())
        assert len(waiting) == 4

    asyncio.run(fill())


@pytest.mark.parametrize(("first", "second", "fits"), [(16, 16, True), (16, 16.1, False), (0, 32.1, False)])
def test_image_files_wait_up_to_32_mb(first, second, fits):
    async def fill():
        waiting = Waiting()
        assert waiting.put(image(int(first * 1e6)))
        assert waiting.put(image(int(second * 1e6))) is fits

    asyncio.run(fill())


def test_images_are_audited_in_the_order_of_their_answers_and_a_reader_waits_for_one():
    async def read():
        waiting = Waiting()
        first, second = image(), image()
        reading = asyncio.create_task(waiting.get())
        await asyncio.sleep(0)
        assert not reading.done()
        waiting.put(first)
        waiting.put(second)
        assert (await reading, await waiting.get()) == (first, second)

    asyncio.run(read())

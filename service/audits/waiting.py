"""Keep the few images that wait for their audit."""

import asyncio
from collections import deque

from service.observe.protocol import Answered

_IMAGES, _BYTES = 4, 32_000_000


class Waiting:
    """A queue of at most four images, and of at most 32 MB of image files. Use it in the event loop only."""

    def __init__(self) -> None:
        """Begin empty."""
        self._images: deque[Answered] = deque()
        self._some = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of waiting images."""
        return len(self._images)

    def put(self, image: Answered) -> bool:
        """Add an image; return False if the queue is full, so that the image is dropped."""
        size = sum(len(one.data) for one in self._images) + len(image.data)
        if len(self._images) >= _IMAGES or size > _BYTES:
            return False
        self._images.append(image)
        self._some.set()
        return True

    async def get(self) -> Answered:
        """Wait for an image, and return the one that has waited longest."""
        while not self._images:
            self._some.clear()
            await self._some.wait()
        return self._images.popleft()

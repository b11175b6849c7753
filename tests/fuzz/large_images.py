"""Decode mutated image files with the service's own limit on pixels; small files can be large images."""

from service.settings import Settings
from tests.fuzz import images
from tests.fuzz.promises import Outcome

LARGEST = images.LARGEST
_MAX_PIXELS = Settings.model_fields["max_pixels"].default
MEMORY_MB = 1200
"""Most memory for one file: its pixels with 16 bits per value, twice, with 8 bits, and as a preview."""

prepare, mutate = images.prepare, images.mutate


def check(data: bytes) -> Outcome:
    """Decode a file; see `images`."""
    return images.check(data, _MAX_PIXELS)

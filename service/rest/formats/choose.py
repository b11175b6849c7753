"""Choose the format in which an answer is written."""

from typing import Literal, assert_never, get_args

from service.rest.formats.protocol import Format

FormatName = Literal["json", "coco", "jpeg"]

FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)


def format_of(name: FormatName) -> Format:
    """Return the Format that writes answers for a value of the parameter `format`."""
    match name:
        case "json":
            from service.rest.formats.json import JsonFormat

            return JsonFormat()
        case "coco":
            from service.rest.formats.coco import CocoFormat

            return CocoFormat()
        case "jpeg":
            from service.rest.formats.jpeg import JpegFormat

            return JpegFormat()
        case _:
            assert_never(name)

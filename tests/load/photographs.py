"""Make the photographs that the load tests send, in the sizes of a webcam, a video and a telephone."""

import os
from pathlib import Path

import cv2

SIZES = {"VGA": (640, 480), "1080p": (1920, 1080), "12 MP": (4000, 3000)}
LEAST_PIXELS = 6_000_000  # an enlarged small image would have too little detail for its size
NUMBER = 4
QUALITY = 90


def default_folder() -> Path | None:
    """Return the folder of large photographs in SPARSIGHT_DATA; None if the variable is not set."""
    data = os.environ.get("SPARSIGHT_DATA")
    return Path(data) / "sku110k_sample" / "images" if data else None


def make_photographs(source: Path, target: Path) -> dict[str, tuple[str, ...]]:
    """Write the first large photographs of a folder in every size, as JPEG; return the files by size.

    An upright photograph stays upright. What does not fit the aspect ratio is cut off evenly.

    Raises:
        SystemExit: the folder has too few large photographs.
    """
    large = []
    for path in sorted(source.iterdir()):
        image = cv2.imread(str(path))
        if image is not None and image.shape[0] * image.shape[1] >= LEAST_PIXELS:
            large.append(image)
        if len(large) == NUMBER:
            break
    else:
        raise SystemExit(
            f"{source} has {len(large)} photographs of 6 megapixels or more; {NUMBER} are needed"
        )
    made = {}
    for name, size in SIZES.items():
        files = [target / f"{name.replace(' ', '')}-{number}.jpg" for number in range(NUMBER)]
        for file, image in zip(files, large, strict=True):
            height, width = image.shape[:2]
            new_width, new_height = size if width > height else size[::-1]
            scale = max(new_width / width, new_height / height)
            # Rounding may leave a pixel too few; the cut is then as large as the image.
            cut_w, cut_h = min(width, round(new_width / scale)), min(height, round(new_height / scale))
            left, top = (width - cut_w) // 2, (height - cut_h) // 2
            cut = image[top : top + cut_h, left : left + cut_w]
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            resized = cv2.resize(cut, (new_width, new_height), interpolation=way)
            cv2.imwrite(str(file), resized, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        made[name] = tuple(map(str, files))
    return made

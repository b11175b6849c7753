"""Recognise the format of a file by its first bytes, including formats that are only named in errors.

Identical copies of this module are beside the copies of image_decoding. The module imports no other module of
its package.
"""

import re

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
# How the files of a format begin, also of formats that are refused; the first pattern that matches counts.
_BEGINNINGS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    "AVIF": rb".{4}ftyp.{0,60}avi[fs]",
    "HEIC": rb".{4}ftyp.{0,60}(he[iv][cmsx]|mif1|msf1)",
    "RAW": rb".{4}ftypcrx |II\*\0.{4}CR|II(RO|RS|U\0)|MMOR|FUJIFILMCCD-RAW|\0MRM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM",
    "video": rb".{4}ftyp|RIFF.{4}AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|FLV\x01|0&\xb2u",
    "DICOM": rb".{128}DICM",
    "PDF": rb"%PDF",
    "SVG": rb"(?i:(\xef\xbb\xbf)?\s*<(svg|!doctype svg|\?xml.*<svg))",
    "HTML": rb"(?i:(\xef\xbb\xbf)?\s*<(html|head|body|!doctype html))",
    "JPEG 2000": rb"\0{3}\x0cjP|\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0{3}\x0cJXL",
    "Photoshop": rb"8BPS",
    "OpenEXR": rb"v/1\x01",
    "NumPy": rb"\x93NUMPY",
    "PNM": rb"P[1-7]\s",
    "an image read as text": rb"(\xef\xbf\xbd|\xc2\x89)PNG|(\xef\xbf\xbd){3}|\xc3\xbf\xc3\x98\xc3\xbf",
    "a Git LFS pointer": rb"version https://git-lfs",
    "gzip": rb"\x1f\x8b",
    "zip": rb"PK\x03\x04",
}
INSTEAD = {  # what to send instead of a format that is refused by name
    "HEIC": "convert it to JPEG; an iPhone takes JPEG with Settings > Camera > Formats > Most Compatible",
    "RAW": "it is a sensor's own values; develop it to JPEG, or to a TIFF with 8 or 16 bits",
    "DICOM": "export it as PNG, with the window (brightness and contrast) in which people look at it",
    "PDF": "save its page or image as JPEG or PNG",
    "SVG": "it is a drawing without pixels; draw it as PNG",
    "HTML": "it is a web page, often an error or a login in place of an image; give the image's own bytes",
    "video": "give one of its frames as JPEG or PNG",
    "gzip": "unpack it first, or send it over HTTP with the header Content-Encoding: gzip",
    "an image read as text": "read the file as bytes, since reading it as text destroys it",
    "a Git LFS pointer": "run `git lfs pull` to get the image itself",
    "zip": "unpack it, and give the images in it one by one",
}


def name_format(data: bytes) -> str:
    """Return the format that the first bytes of a file show, such as JPEG or HEIC; "" if it is unknown."""
    patterns = _BEGINNINGS.items()
    return next((name for name, begin in patterns if re.match(begin, data[:1000], re.DOTALL)), "")

"""Code that the readers share: it stores boxes and shapes, reads label files, and handles EXIF rotation."""

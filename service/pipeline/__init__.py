"""Pure stages, one file each: bytes to pixels, pixels to a canvas, outputs to what they mean."""

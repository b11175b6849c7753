"""Process images in pure stages, one file each: decode, resize to the model input, interpret outputs."""

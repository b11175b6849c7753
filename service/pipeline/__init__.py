"""Process images in stages without side effects: decode, resize to the model input, interpret outputs."""

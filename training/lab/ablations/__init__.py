"""Train the ablations in YOLO-Master's paper (tables 5 to 8) again, and our own ablations of routing."""

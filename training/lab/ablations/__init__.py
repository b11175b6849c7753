"""Train the ablations of YOLO-Master again (tables 5 to 8 of the paper), and our own on routing."""

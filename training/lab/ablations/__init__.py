"""Train the ablations of YOLO-Master again (tables 5 to 8 of its paper), and our own ablations of routing."""

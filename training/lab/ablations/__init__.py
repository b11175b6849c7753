"""The ablations of YOLO-Master, trained again: its tables 5 to 8 beside ours; and one on our own routing."""

"""The ablations of YOLO-Master, trained again: its tables 5 to 8 beside ours."""

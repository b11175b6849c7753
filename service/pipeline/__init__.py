"""Image bytes to detections: pure stages, one file each; run.py knows their order."""

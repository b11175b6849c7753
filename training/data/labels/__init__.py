"""What readers of labels share: rows of boxes and shapes, label files, and turns of images."""

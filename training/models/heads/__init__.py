"""What turns feature maps into answers, one file per task."""

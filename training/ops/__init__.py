"""Tensor functions without state: boxes, anchors, candidates, non-maximum suppression."""

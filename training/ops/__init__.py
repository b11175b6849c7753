"""Stateless tensor functions: boxes, anchors, candidate selection, non-maximum suppression."""

"""Evaluation: the accuracy of a detector or classifier, and the use of its experts."""

"""Evaluate tracks against ground truth, measure the cost of a precision, and handle pseudo-ground-truth."""

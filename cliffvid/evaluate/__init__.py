"""How good: against ground truth, and what a precision costs; pseudo-ground-truth."""

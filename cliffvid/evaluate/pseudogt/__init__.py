"""Check, show, convert and create files in the layout of CLIFF's training pseudo-ground-truth."""

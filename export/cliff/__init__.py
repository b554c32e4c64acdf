"""Export of CLIFF checkpoints (ECCV 2022) to model folders."""

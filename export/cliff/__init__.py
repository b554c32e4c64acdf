"""CLIFF checkpoints (ECCV 2022) become model folders."""

"""The layout of the pseudo-ground-truth that CLIFF was trained on: checked, shown, converted, made."""

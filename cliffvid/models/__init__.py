"""Load model folders, each of which describes itself: networks to run, and bodies to pose."""

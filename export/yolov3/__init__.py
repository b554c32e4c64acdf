"""Darknet networks (YOLOv3 and its kin) become model folders."""

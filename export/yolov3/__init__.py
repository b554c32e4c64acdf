"""Export of Darknet networks (YOLOv3 family) to model folders."""

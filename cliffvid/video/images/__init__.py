"""The kinds of images that a frame can be."""

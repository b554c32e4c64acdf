"""Read, write, smooth and convert tracks."""

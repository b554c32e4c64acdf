"""What comes out: reading, writing, smoothing and converting tracks."""

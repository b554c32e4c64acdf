"""Decode, detect, crop, regress, track, write. Start reading at process.py."""

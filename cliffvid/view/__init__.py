"""Visualize tracks: overlay videos, still images and the HTML report."""

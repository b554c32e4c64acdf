"""Tracks drawn: films, stills, the HTML report."""

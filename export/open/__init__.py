"""Rebuild the open models in cliffvid/bundled bit for bit from public packages."""

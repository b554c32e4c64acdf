"""The open models in cliffvid/bundled, rebuilt bit for bit from public packages."""

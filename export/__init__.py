"""The workshop: turns public weights and checkpoints into model folders that cliffvid runs."""

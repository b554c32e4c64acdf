"""What cliffvid does on a machine with a GPU, measured step by step; each step leaves its figures whatever happens."""

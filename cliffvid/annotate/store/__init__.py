"""Storage of a data set on disk: journal, shards, and file ownership."""

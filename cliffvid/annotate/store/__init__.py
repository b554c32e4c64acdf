"""What a data set is on disk: the journal, the shards, and which files are its own."""

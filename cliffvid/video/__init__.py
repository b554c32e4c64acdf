"""A file, folder or list of images becomes frames as displayed, each with its time; and frames become a film again."""

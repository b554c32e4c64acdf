"""Build one data set from many videos with crash-safe worker processes. Start reading at job.py."""

"""One data set from many videos, by processes that may be killed at any moment. Start reading at job.py."""

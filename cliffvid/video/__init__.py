"""Read video files, folders and images as frames as displayed, each with its time; and write videos."""

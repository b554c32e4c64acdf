"""Put a video's rows and the places of its joints into a table of pandas: tracks_to_pandas.py video.parquet out.csv."""

import sys

import pandas as pd

from cliffvid import read_tracks

tracks = read_tracks(sys.argv[1])
rows = tracks.to_pandas()[["frame_idx", "time_s", "track_id", "det_score"]]
names = [f"{joint}_{axis}_m" for joint in tracks.body.joint_names for axis in "xyz"]
joints = pd.DataFrame(tracks.joints(frame="level").reshape(len(tracks), -1), columns=names)
table = pd.concat([rows, joints], axis=1)
table.to_csv(sys.argv[2], index=False)
print(table.groupby("track_id")["time_s"].agg(["min", "max", "count"]))

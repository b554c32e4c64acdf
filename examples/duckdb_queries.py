"""Ask a data set by SQL, without loading it: duckdb_queries.py annotated/."""

import sys

import duckdb

QUERIES = {
    "who is seen longest": """
        select video, track_id, count(*) as rows, max(time_s) - min(time_s) as seconds
        from rows group by all order by seconds desc, video, track_id limit 5""",
    "how far people are": """
        select video, round(median(transl[3]), 2) as metres
        from rows where flags & 2 = 0 group by all order by video""",
    "what went wrong": "select video, status, message from videos where status <> 'ok' order by video",
}
database = duckdb.connect()
for view, files in {"rows": "tracks/*.parquet", "videos": "videos.parquet"}.items():
    database.read_parquet(f"{sys.argv[1]}/{files}").create_view(view)
for title, query in QUERIES.items():
    print(title, *database.sql(query).fetchall(), sep="\n  ")

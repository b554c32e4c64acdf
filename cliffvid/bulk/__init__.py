"""Bulk annotation: one data set from many inputs, by processes that may be killed at any moment.

job.py        annotate(): plan, hand out, commit; start reading here
sources.py    what folders, patterns, lists and manifests name
units.py      what a worker does: probe an input, process it or a segment of it, join segments
local.py      workers as processes of this machine; ray_pool.py: as actors of a Ray cluster
joins.py      segments of long inputs: kept, joined, or given up for the whole
networks.py   one process that holds the networks for all of local.py's workers
journal.py    what is done, line by line; the only truth about a data set
dataset.py    shards of tracks, and videos.parquet
view.py       what is shown meanwhile; status.py: what the journal tells
upkeep.py     verify, repair, merge
"""

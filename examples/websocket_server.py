"""Answer JPEG frames over a WebSocket on this machine, one JSON of rows for each: websocket_server.py [port].

The answer to a frame with people comes at once; where nobody is seen it comes with the next one that has people, so a
client sends without waiting. An empty message ends.
"""

import json
import sys
import time
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from websockets.sync.server import ServerConnection, serve

from cliffvid import FrameSource, Options, open_models, stream

OPTIONS = Options(frame_batch=1, person_batch=1, prefetch=0)  # nothing waits for a batch to fill
models = open_models(OPTIONS)


def answer(client: ServerConnection) -> None:
    """Answer all frames of one client."""
    times: list[float] = []
    sent = 0

    def frames() -> Iterator[NDArray[np.uint8]]:
        while message := client.recv(decode=False):
            image = cv2.imdecode(np.frombuffer(message, np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                return
            times.append(time.monotonic())
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8)

    for rows in stream(FrameSource(frames(), (times[-1] for _ in iter(int, 1))), OPTIONS, models):
        for _ in range(sent, int(rows.frame_idx[0])):
            client.send("[]")  # nobody was seen
        people = zip(rows.track_id.tolist(), rows.joints().round(3).tolist(), strict=True)
        client.send(json.dumps([{"track": track, "joints_m": joints} for track, joints in people]))
        sent = int(rows.frame_idx[0]) + 1
    for _ in range(sent, len(times)):
        client.send("[]")


with models, serve(answer, "localhost", int(sys.argv[1]) if len(sys.argv) > 1 else 8765, max_size=1 << 24) as server:
    print("listening on port", server.socket.getsockname()[1], flush=True)
    server.serve_forever()

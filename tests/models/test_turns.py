"""Networks that take all cores of the CPU, in the threads of one run."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cliffvid.machine import usable_cores
from cliffvid.models.manifest import BUNDLED, read_manifest
from cliffvid.models.session import OomRetry


class Busy:
    """A network that takes its time, and keeps how many are at work at once."""

    backend, precision = "busy", "fp32"
    at_work, most, lock = 0, 0, threading.Lock()

    def __init__(self, device):
        self.manifest, self.device = read_manifest(BUNDLED / "yolov3-tiny"), device

    def run(self, inputs):
        with Busy.lock:
            Busy.at_work += 1
            Busy.most = max(Busy.most, Busy.at_work)
        time.sleep(0.05)
        with Busy.lock:
            Busy.at_work -= 1
        if inputs["image"][0] < 0:
            raise ValueError("put in")
        return inputs


@pytest.mark.parametrize(
    ("device", "threads", "together"), [("cpu", usable_cores(), 1), ("cpu", 0, 2), ("cuda", usable_cores(), 2)]
)
def test_those_that_take_all_cores_take_turns(device, threads, together):
    first, second = (OomRetry(Busy(device), threads) for _ in range(2))
    with pytest.raises(ValueError, match="put in"):  # which ends its turn
        first.run({"image": np.array([-1])})
    Busy.most, first.turn_waits, second.turn_waits = 0, [], []
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(session.run, {"image": np.array([n])}) for n in range(4) for session in (first, second)]
        answers = [int(answer.result(timeout=10)["image"][0]) for answer in asked]
    assert answers == [0, 0, 1, 1, 2, 2, 3, 3] and Busy.most == together
    for session in (first, second):
        assert sum(end - start for start, end in session.turn_waits) == pytest.approx(session.turn_wait_s, abs=0.01)
    waited_s = first.turn_wait_s + second.turn_wait_s
    assert waited_s > 0.2 if together == 1 else waited_s < 0.1

"""Names that may be shown: no password and no signature of an address, and nothing else left out."""

import pytest

from cliffvid.names import label, public

SHOWN = {
    "https://user:p@ss@host/a.mp4": "https://host/a.mp4",
    "rtsp://camera:secret@192.0.2.1:554/1": "rtsp://192.0.2.1:554/1",
    "https://host/a.mp4?X-Amz-Date=20260101&X-Amz-Signature=5ec2e7": "https://host/a.mp4",
    "https://host/a.mp4?id=3&token=5ec2e7&part=1#t=2": "https://host/a.mp4?id=3&part=1#t=2",
    "https://host/a.mp4?sv=1&sig=a%2Fb: not a video (403)": "https://host/a.mp4: not a video (403)",
    "s3://bucket/token=1/a@b c#d.mp4": "s3://bucket/token=1/a@b c#d.mp4",
    "clips/a?key=1.mp4": "clips/a?key=1.mp4",
}


@pytest.mark.parametrize("text", SHOWN)
def test_secrets_of_addresses_are_left_out(text):
    assert public(text) == label(text) == SHOWN[text]

"""Files at web addresses: the bytes that the server has, and nothing from where it should not lead."""

import datetime
import http.server
import io
import random
import re
import ssl
import tarfile
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from cliffvid import Options
from cliffvid.annotate.content import content_of
from cliffvid.annotate.inputs import find_inputs
from cliffvid.errors import AccessError, EmptyError, NotFoundError, RefusedError, UnreadableError
from cliffvid.video import stores
from cliffvid.video.ranges import open_ranges
from cliffvid.video.web import web
from needs import package

LEAVE = Options(allow_network=True)
DATA = random.Random(0).randbytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """A server of one file, which does what the address says: /ranges/clip.mp4, /whole/clip.mp4, /failing/..."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, kind = self.server, self.path.split("/")[1]
        server.asked.append((self.path, self.headers["Range"], self.headers["Authorization"]))
        if kind == "failing" and len(server.asked) % 10 == 0:
            if len(server.asked) % 20 == 0:
                return self.connection.close()
            return self.send(503, b"")
        if kind == "to":
            return self.send(302, b"", Location=server.target)
        if self.path.endswith("/gone.mp4") or kind in ("401", "418"):
            return self.send(int(kind) if kind.isdigit() else 404, b"")
        data = b"" if kind == "empty" else server.data
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        if kind == "whole" or not asked:
            return self.send(200, data, **server.tags)
        if kind == "endless":
            return self.send(200, data, length=None)
        first, last, size = int(asked[1]), int(asked[2]), len(data) + 1000 * (kind == "lying")
        if kind == "ignoring" and first:
            return self.send(200, data)
        if first >= len(data):
            return self.send(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
        part = data[first : last + 1]
        self.send(206, part, **{"Content-Range": f"bytes {first}-{first + len(part) - 1}/{size}"}, **server.tags)

    def send(self, status, body, length=True, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def serving(host="127.0.0.1"):
    with http.server.ThreadingHTTPServer((host, 0), Handler) as server:
        server.asked, server.data, server.tags, server.target = [], DATA, {"ETag": '"abc"'}, ""
        server.base = f"http://{host}:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(stores.random, "uniform", lambda *_: 0.02)  # of the time to wait before another try
    with serving() as server:
        yield server


@pytest.mark.parametrize("kind", ["ranges", "whole", "failing"])
def test_reads_give_the_bytes_of_the_file(server, kind):
    with open_ranges(f"{server.base}/{kind}/a clip é.mp4?x=1", LEAVE) as file:
        assert file.read() == DATA
        for _ in range(20):
            place, size = random.randrange(len(DATA)), random.randrange(1, 200_000)
            file.seek(place)
            assert file.read(size) == DATA[place : place + size]
        file.check()
    assert {path for path, *_ in server.asked} == {f"/{kind}/a%20clip%20%C3%A9.mp4?x=1"}
    if kind == "ranges":
        assert len(server.asked) < 40 and all(span for _, span, _ in server.asked)


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("ranges/gone.mp4", NotFoundError, "the server has no such file; check the address"),
        ("401/clip.mp4", AccessError, "the server forbids reading it; the address may have expired"),
        ("418/clip.mp4", UnreadableError, r"the server refuses to deliver it \(I'm a Teapot|418"),
        ("empty/clip.mp4", EmptyError, "the file is empty"),
        ("endless/clip.mp4", UnreadableError, "does not tell its size, as of a live stream"),
        ("lying/clip.mp4", UnreadableError, r"the server sent [\d,]+ bytes for the .* promised"),
        ("ignoring/clip.mp4", UnreadableError, "does not answer with the range that was asked for"),
    ],
)
def test_what_a_server_refuses_is_an_error_of_one_line(server, path, error, words):
    with pytest.raises(error, match=words) as raised, open_ranges(f"{server.base}/{path}", LEAVE) as file:
        file.read()
        file.check()
    assert str(raised.value).startswith(f"{server.base}/{path}: ") and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "days", "words"),
    [
        ("localhost", 1, None),
        ("localhost", -1, "certificate has expired"),
        ("example.org", 1, "Hostname mismatch.*"),
        ("localhost", None, "self-signed certificate"),
    ],
    ids=["trusted", "expired", "of another host", "untrusted"],
)
def test_only_a_server_that_is_trusted_is_read_from(server, tmp_path, monkeypatch, host, days, words):
    (tmp_path / "server.pem").write_bytes(certificate(host, days or 1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / ("server.pem" if days else "none.pem")))
    address = f"https://localhost:{server.server_port}/ranges/clip.mp4"
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with ExitStack() as stack:
        stack.callback(web().close)
        if words:
            words = rf"{address}: the certificate of localhost is not trusted \({words}\); .*SSL_CERT_FILE"
            stack.enter_context(pytest.raises(UnreadableError, match=words))
        with open_ranges(address, LEAVE) as file:
            assert file.read() == DATA


def certificate(host: str, days: int) -> bytes:
    """A certificate that vouches for itself, valid for these days, with its key."""
    x509 = package("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now, alternative = datetime.datetime.now(datetime.UTC), x509.SubjectAlternativeName([x509.DNSName(host)])
    begin, end = now - datetime.timedelta(2), now + datetime.timedelta(days)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, end).add_extension(alternative, True)
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*kinds) + made.sign(key, hashes.SHA256()).public_bytes(kinds[0])


def test_redirects_lead_to_the_named_host_and_to_no_other_private_address_or_scheme(server):
    address = f"{server.base}/to/clip.mp4".replace("//", "//me:5ec2e7@")
    server.target = "/ranges/clip.mp4"
    with open_ranges(address, LEAVE) as file:
        assert file.read() == DATA
    assert {login is not None for _, _, login in server.asked} == {True}
    with serving("127.0.0.2") as other:
        for target, words in (
            (f"{other.base}/ranges/clip.mp4", "redirects to a private address, of 127.0.0.2"),
            (f"{other.base.replace('127.0.0.2', '[::ffff:7f00:2]')}/ranges/clip.mp4", "redirects to a private address"),
            ("file:///etc/passwd", "redirects to file://"),
            ("ftp://127.0.0.1/a", "redirects to ftp://"),
            (f"{server.base}/to/clip.mp4", "redirects without end"),
        ):
            server.target = target
            with pytest.raises((RefusedError, UnreadableError), match=words):
                open_ranges(address, LEAVE)
        assert other.asked == []
        with open_ranges(f"{other.base}/ranges/clip.mp4", LEAVE) as file:  # named itself
            assert file.read(9) == DATA[:9]


@pytest.mark.parametrize(
    "address", ["http://", "http://host:port/a.mp4", "https://[::1/a.mp4", f"http://{'a' * 99}.x/"]
)
def test_what_is_no_address_is_refused_at_once(address):
    begun = time.monotonic()
    with pytest.raises(NotFoundError, match=r"no address of a file .* it is like https://host/clip\.mp4"):
        open_ranges(address, LEAVE)
    assert time.monotonic() - begun < 5
    with pytest.raises(RefusedError, match="give --allow-network"):
        open_ranges(address, Options())


def test_the_content_is_known_by_etag_or_time_and_by_size(server):
    address = f"{server.base}/ranges/clip.mp4"
    for tags, expected in (
        ({"ETag": '"abc"', "Last-Modified": "Sun"}, 'etag "abc" size 3000000'),
        ({"Last-Modified": "Sun"}, "modified Sun size 3000000"),
        ({}, f"address {address} size 3000000"),
    ):
        server.tags = tags
        assert content_of(address, LEAVE) == expected
    assert all(span == "bytes=0-0" for _, span, _ in server.asked)


def test_lists_and_manifests_at_addresses_name_inputs(server, tmp_path):
    server.data = b"path,focal_px\nhttps://host/a.mp4,900\nb.mp4,\n"
    assert list(find_inputs([f"{server.base}/ranges/m.csv?sig=1"], tmp_path, LEAVE).inputs) == [
        "https://host/a.mp4",
        "b.mp4",
    ]
    server.data = b"c.mp4\n"
    assert list(find_inputs([f"{server.base}/whole/l.txt"], tmp_path, LEAVE).inputs) == ["c.mp4"]


def test_members_of_a_tar_file_are_read_by_their_headers_and_their_own_bytes(server, tmp_path):
    with io.BytesIO() as file, tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in (("a.mp4", DATA), ("a.json", b'{"caption": "of a"}'), ("b/c.MP4", DATA[:500_000])):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.close()
        server.data = file.getvalue()
    address = f"{server.base}/ranges/{{000..001}}.tar"
    one, two = (f"{server.base}/ranges/{number}.tar" for number in ("000", "001"))
    found = find_inputs([address], tmp_path, LEAVE)
    assert list(found.inputs) == [f"{one}/a.mp4", f"{one}/b/c.MP4", f"{two}/a.mp4", f"{two}/b/c.MP4"]
    assert found.inputs[f"{one}/a.mp4"] == {"caption": "of a"} and not found.inputs[f"{one}/b/c.MP4"]
    spans = [span for _, span, _ in server.asked]
    assert sum(int(last) - int(first) for first, last in (span[6:].split("-") for span in spans)) < len(server.data)
    server.asked.clear()
    for name, data in (("a.mp4", DATA), ("b/c.MP4", DATA[:500_000])):
        with open_ranges(f"{two}/{name}", LEAVE) as member:
            assert member.read() == data
            member.check()
    assert content_of(f"{two}/a.mp4", LEAVE) != content_of(f"{two}/b/c.MP4", LEAVE)
    with pytest.raises(NotFoundError, match="no such member"):
        open_ranges(f"{two}/gone.mp4", LEAVE)
    with pytest.raises(UnreadableError, match="a tar file; name a member"):
        open_ranges(two, LEAVE)


def test_a_compressed_tar_file_is_refused_with_the_remedy(tmp_path):
    for name, program in (("a.tar.gz", "gunzip"), ("A.TGZ", "gunzip"), ("a.tar.zst", "unzstd")):
        (tmp_path / name).write_bytes(b"x")
        for source in (tmp_path / name, f"s3://bucket/{name}"):
            with pytest.raises(RefusedError, match=rf"{name}: a compressed tar file; uncompress it \({program}\)"):
                open_ranges(source, LEAVE)

"""Read files at http:// and https:// addresses by ranges, with requests that any server answers.

A redirect is followed to http and https only, never back from https to http, and to a private address only if the host
that was named has the same one: so no server makes us read from others in our own network.
"""

import atexit
import base64
import errno
import http.client
import ipaddress
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from ..errors import OutputError, RefusedError, UnreadableError
from ..inputs import RangeFile
from ..names import public
from .stores import CONNECT_S, READ_S, SCHEMES

LEAST_RATE = 20_000  # bytes a second, below which a server is taken to be stuck
REDIRECTS = 301, 302, 303, 307, 308
REDIRECTS_MAX = 5
IDLE_MAX = 16  # connections
PART_BYTES = 1 << 16
COPY_BYTES = 1 << 32  # of a file that is downloaded as a whole
FORBIDDEN, MISSING, BUSY = (401, 403, 407), (404, 410), (408, 425, 429)
UNTRUSTED = "check the address, or name the file of an authority that you trust in SSL_CERT_FILE"
Peer: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Web:
    """Client of all servers, which keeps an idle connection to each of the last few."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str | None, int | None], http.client.HTTPConnection] = {}

    def info(self, path: str) -> dict[str, object]:
        """Return the size of a file, what identifies its content, and whether the server knows ranges.

        Asked by a range, not by HEAD, which signatures in addresses do not allow.
        """
        with self._get(path, "bytes=0-0") as reply:
            ranges, length = reply.status != 200, reply.getheader("Content-Length", "")
            size = reply.getheader("Content-Range", "").rpartition("/")[2] if ranges else length
            if not size.isdecimal() or len(size) > 18:
                raise UnreadableError(f"{path}: the server does not tell its size, as of a live stream; save it first")
            if not ranges and int(size) > COPY_BYTES:
                raise RefusedError(f"{path}: {int(size):,} bytes from a server that knows no ranges; download it first")
            kinds = {"etag": "ETag", "modified": "Last-Modified"}
            tags = (f"{kind} {value}" for kind, name in kinds.items() if (value := reply.getheader(name)))
            return {"type": "file", "size": int(size), "ranges": ranges, "tag": next(tags, f"address {public(path)}")}

    def cat_file(self, path: str, *, start: int, end: int) -> bytes:
        """Return the bytes of a range, or fewer if the server breaks off."""
        with self._get(path, f"bytes={start}-{end - 1}") as reply:
            if reply.status != 206 or not reply.getheader("Content-Range", "").startswith(f"bytes {start}-"):
                raise OSError(errno.EINVAL, "it does not answer with the range that was asked for")
            return b"".join(_parts(reply, end - start))

    def copy(self, path: str, size: int) -> IO[bytes]:
        """Return a whole file as a temporary one, which is gone once it is closed. Raises OutputError."""
        with self._get(path, None) as reply:
            file = tempfile.TemporaryFile(prefix="cliffvid-")
            try:
                for part in _parts(reply, size):
                    _write(file, part, path)
                _write(file, None, path)
                if (came := file.tell()) != size:
                    raise EOFError(f"{came:,} bytes of the {size:,} promised")
            except BaseException:
                file.close()
                raise
        return file

    @contextmanager
    def _get(self, address: str, span: str | None) -> Iterator[http.client.HTTPResponse]:
        """Yield the answer to a request, at the end of all redirects."""
        url, first, named = _split(address), None, None
        for _ in range(REDIRECTS_MAX + 1):
            connection, peer = self._connected(address, url, first)
            first, named, kept = first or peer, named or url, False
            try:
                with _asked(connection, url, named, span) as reply:
                    if reply.status not in REDIRECTS:
                        _check(reply)
                        yield reply
                        kept = reply.length == 0 and not reply.will_close
                        break
                    url = _next(address, url, reply.getheader("Location", ""))
            finally:
                if not kept:
                    connection.close()
        else:
            raise UnreadableError(f"{address}: the server redirects without end")
        if kept:
            self._keep(url, connection)

    def _keep(self, url: SplitResult, connection: http.client.HTTPConnection) -> None:
        others = [self._idle.pop((url.scheme, url.hostname, url.port), None)]
        self._idle[url.scheme, url.hostname, url.port] = connection
        if len(self._idle) > IDLE_MAX:
            others.append(self._idle.pop(next(iter(self._idle)), None))
        for other in filter(None, others):
            other.close()

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.popitem()[1].close()

    def _connected(self, address: str, url: SplitResult, first: Peer | None) -> tuple[http.client.HTTPConnection, Peer]:
        """Return a connection to a host that may be asked, and the address it has. Raises RefusedError."""
        connection = self._idle.pop((url.scheme, url.hostname, url.port), None)
        if connection is None or not connection.sock or _is_over(connection):
            kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
            connection = kind(url.hostname or "", url.port, timeout=CONNECT_S)
            try:
                connection.connect()
            except OSError as error:
                connection.close()
                if not isinstance(error, ssl.SSLCertVerificationError):
                    raise
                words = f"the certificate of {url.hostname} is not trusted ({error.verify_message}); {UNTRUSTED}"
                raise UnreadableError(f"{address}: {words}") from error
            connection.sock.settimeout(READ_S)
        peer = ipaddress.ip_address(connection.sock.getpeername()[0].partition("%")[0])
        peer = getattr(peer, "ipv4_mapped", None) or peer
        if first and peer != first and not peer.is_global:
            connection.close()
            raise RefusedError(f"{address}: redirects to a private address, of {url.hostname}; name that one yourself")
        return connection, peer


@cache
def web() -> Web:
    """Return the one client of this process."""
    client = Web()
    atexit.register(client.close)
    return client


class CopiedFile(RangeFile):
    """A file that was downloaded as a whole."""

    _file: IO[bytes] | None = None  # an object that was never opened is closed too

    def __init__(self, name: str, size: int, content: str, file: IO[bytes]) -> None:
        super().__init__(name, size)
        self.content, self._file = content, file

    def fetch(self, start: int, size: int) -> bytes:
        assert self._file
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        if self._file:
            self._file.close()
        super().close()


def _is_over(connection: http.client.HTTPConnection) -> bool:
    """Return whether an idle connection was closed by the server, or has bytes that nobody asked for."""
    connection.sock.setblocking(False)
    try:
        connection.sock.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        connection.sock.settimeout(READ_S)
        return False
    except OSError:
        pass
    connection.close()
    return True


def _split(address: str) -> SplitResult:
    """Return the parts of an address. Raises ValueError for one that none can have."""
    url = urlsplit(address)
    if not url.hostname:
        raise ValueError("it has no host")
    assert url.port is None or url.port >= 0  # raises ValueError for what is no port
    return url


def _next(address: str, url: SplitResult, location: str) -> SplitResult:
    there = urlsplit(urljoin(url.geturl(), location))
    if there.scheme not in SCHEMES or (url.scheme, there.scheme) == ("https", "http"):
        raise RefusedError(f"{address}: the server redirects to {there.scheme}://, which is not followed")
    return _split(there.geturl())


def _asked(
    connection: http.client.HTTPConnection, url: SplitResult, named: SplitResult, span: str | None
) -> http.client.HTTPResponse:
    headers = {"User-Agent": "cliffvid", "Accept-Encoding": "identity"} | ({"Range": span} if span else {})
    owner = url if url.username else named if url.hostname == named.hostname else url
    if owner.username:
        login = f"{unquote(owner.username)}:{unquote(owner.password or '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
    target = quote(url.path or "/", safe="/%:@!$&'()*+,;=~") + ("?" if url.query else "")
    connection.request("GET", target + quote(url.query, safe="/%:@!$&'()*+,;=~?"), headers=headers)
    return connection.getresponse()


def _check(reply: http.client.HTTPResponse) -> None:
    """Raise OSError for an answer that is none of a file; of a kind that says whether to ask again."""
    words = f"{reply.status} {reply.reason}"
    empty = reply.status == 416 and reply.getheader("Content-Range", "").strip() == "bytes */0"
    if reply.status in FORBIDDEN:
        raise PermissionError(errno.EACCES, words)
    if reply.status in MISSING:
        raise FileNotFoundError(errno.ENOENT, words)
    if reply.status in BUSY or reply.status >= 500:
        raise OSError(errno.EAGAIN, words)
    if reply.status not in (200, 206) and not empty:
        raise OSError(errno.EINVAL, words)
    if reply.getheader("Content-Encoding", "identity") not in ("identity", ""):
        raise OSError(errno.EINVAL, "it compresses the file, though that was not asked for")


def _parts(reply: http.client.HTTPResponse, size: int) -> Iterator[bytes]:
    """Yield the body of an answer up to ``size`` bytes. Raises TimeoutError if it drips."""
    until = time.monotonic() + READ_S + size / LEAST_RATE
    while size and (part := reply.read1(min(size, PART_BYTES))):
        yield part
        size -= len(part)
        if time.monotonic() > until:
            raise TimeoutError(errno.ETIMEDOUT, f"less than {LEAST_RATE:,} bytes a second")


def _write(file: IO[bytes], part: bytes | None, path: str) -> None:
    """Write a part of a copy, or None: what is still in memory. Raises OutputError."""
    try:
        file.flush() if part is None else file.write(part)
    except OSError as error:
        raise OutputError(f"{tempfile.gettempdir()}: no room for a copy of {path} ({error.strerror})") from error

"""A local S3 server (moto), in a process of its own, that counts what is read, and misbehaves where it is asked to.

``PUT /-/faults`` sets what goes wrong, as JSON: with ``every`` N, each Nth request for an object fails or is slow, and
of those that fail every other one was done all the same; ``forbid`` lists beginnings of keys that may not be reached,
``lie`` of keys that are claimed to be larger than they are, ``lose`` of keys whose first put is done and answered as
failed; ``replace``: no condition of a put counts. ``GET /-/requests`` returns all requests for objects since.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
LIE = 1000  # bytes that are not there


class Bucket:
    """The bucket ``clips`` of a running server."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        # Whatever the machine is set up with must not matter.
        none = os.devnull
        self.env = KEYS | {"AWS_ENDPOINT_URL": endpoint, "AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none}

    def ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        kind = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.endpoint}/{path}", data or b"", kind, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.read()

    def put(self, key: str, data: bytes) -> None:
        self.ask("PUT", f"clips/{quote(key)}", data)

    def faults(self, **faults: object) -> None:
        self.ask("PUT", "-/faults", json.dumps(faults).encode())

    def requests(self) -> list[dict]:
        return json.loads(self.ask("GET", "-/requests"))

    def bytes_read(self, key: str = "") -> int:
        return sum(each["bytes"] for each in self.requests() if each["method"] == "GET" and key in each["key"])


@contextmanager
def serve():
    """Yield an empty bucket."""
    running = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        bucket = Bucket(f"http://127.0.0.1:{int(running.stdout.readline())}")
        bucket.ask("PUT", "clips")
        yield bucket
    finally:
        running.kill()
        running.communicate()


class Misbehaving:
    """A WSGI application around that of moto."""

    def __init__(self, app) -> None:
        self.app, self.faults, self.requests, self.count = app, {}, [], 0

    def __call__(self, environ, start):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path == "/-/faults":
            self.faults = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self.requests, self.count = [], 0
            return _reply(start, "200 OK")
        if path == "/-/requests":
            return _reply(start, "200 OK", json.dumps(self.requests).encode())
        if not path.startswith("/clips/") or path == "/clips/":
            return self.app(environ, start)
        key = path[len("/clips/") :].encode("latin1").decode()
        body, status = self.answer(environ, start, method, key)
        seen = {"method": method, "key": key, "status": status, "range": environ.get("HTTP_RANGE")}
        self.requests.append(seen | {"bytes": sum(map(len, body))})
        return body

    def answer(self, environ, start, method, key):
        self.count += 1
        every, turn = self.faults.get("every"), self.count
        if every and turn % every == 0:
            if turn // every % 3 == 0:
                time.sleep(1)
            else:
                if done := turn // every % 2:
                    b"".join(self.app(environ, lambda *args: None))
                else:
                    _take(environ)
                status = ("503 Slow Down", "500 Internal Server Error")[done]
                return _reply(start, status), int(status[:3])
        seen = any(each["method"] == method and each["key"] == key for each in self.requests)
        if method == "PUT" and key.startswith(tuple(self.faults.get("lose", ()))) and not seen:
            b"".join(self.app(environ, lambda *args: None))
            return _reply(start, "500 Internal Server Error"), 500
        if key.startswith(tuple(self.faults.get("forbid", ()))):
            _take(environ)
            return _reply(start, "403 Forbidden"), 403
        if self.faults.get("replace"):
            environ.pop("HTTP_IF_NONE_MATCH", None)
        held = []
        body = self.app(environ, lambda *args: held.extend(args[:2]))
        body = [b"".join(body)]
        status, headers = held
        if key.startswith(tuple(self.faults.get("lie", ()))) and method == "HEAD":
            headers = [
                (name, str(int(value) + LIE) if name.lower() == "content-length" else value) for name, value in headers
            ]
        start(status, headers)
        return body, int(status.split()[0])


def _take(environ) -> None:
    """Read what was sent, as it is no part of the next request."""
    chunked = environ.get("wsgi.input_terminated")
    environ["wsgi.input"].read(-1 if chunked else int(environ.get("CONTENT_LENGTH") or 0))


def _reply(start, status: str, body: bytes = b"") -> list[bytes]:
    start(status, [("Content-Length", str(len(body)))])
    return [body]


def main() -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    app = Misbehaving(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.path = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).parent]
    main()

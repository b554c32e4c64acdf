"""Headless Chromium by its driver's plain HTTP protocol (W3C WebDriver): no further package."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path


def missing() -> list[str]:
    return [name for name in ("chromium", "chromedriver") if not shutil.which(name)]


class Browser:
    """A window of 1200 x 900 with software WebGL; a context manager."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._base = f"http://127.0.0.1:{port}"
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        flags = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        flags += ["--window-size=1200,900", "--disable-dev-shm-usage", f"--user-data-dir={home}"]
        wishes = {
            "goog:chromeOptions": {"args": flags, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        try:
            for _ in range(100):
                try:
                    self._ask("GET", "/status")
                    break
                except urllib.error.URLError:
                    time.sleep(0.1)
            answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wishes}})
            self._base += f"/session/{answer['sessionId']}"
        except BaseException:
            self._driver.kill()
            self._driver.wait()
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()

    def _ask(self, method: str, path: str, data: dict | None = None):
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self._base + path, body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path) -> None:
        self._ask("POST", "/url", {"url": path.as_uri()})

    def run(self, script: str, *args):
        """What a script returns; ``arguments`` are the given ones."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": args})

    def until(self, condition: str, seconds: float = 40):
        """The first true value of an expression. Raises AssertionError if it never comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(f"return {condition}"):
                return value
            time.sleep(0.1)
        raise AssertionError(f"never true: {condition}; log: {self.log()}")

    def appear(self, width: int, height: int, dark: bool) -> None:
        """Show pages as a window of that size in CSS pixels does, on a light or dark system."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})

    def _devtools(self, command: str, values: dict) -> None:
        self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": values})

    def click(self, selector: str, x: int = 0, y: int = 0) -> None:
        """A real click of the mouse at the middle of an element, or so far from there."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self.run("arguments[0].scrollIntoView({block: 'center'})", found)
        moves = [
            {"type": "pointerMove", "origin": found, "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": moves}
        self._ask("POST", "/actions", {"actions": [mouse]})

    def key(self, name: str) -> None:
        """A real press of a key, by its name in the DOM: ArrowLeft, Home ... or its character."""
        codes = {"ArrowLeft": "\ue012", "ArrowRight": "\ue014", "Home": "\ue011", "End": "\ue010", "Escape": "\ue00c"}
        press = [{"type": kind, "value": codes.get(name, name)} for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": press}]})

    def log(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call, without data, blobs and the browser's own pages."""
        entries = [json.loads(e["message"])["message"] for e in self._ask("POST", "/se/log", {"type": "performance"})]
        sent = [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:", "chrome:"))]

    def picture(self) -> bytes:
        """A PNG of the window."""
        return base64.b64decode(self._ask("GET", "/screenshot"))

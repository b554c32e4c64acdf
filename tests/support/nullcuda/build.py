"""Build the null CUDA with gcc: one library under the names of all that onnxruntime-gpu and FFmpeg load."""

import mmap
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import av

SOURCES = sorted(Path(__file__).parent.glob("*.c"))
NAMES = "libcudnn.so.9", "libcurand.so.10", "libcuda.so.1", "libnvcuvid.so.1"  # and those that are linked by version
PROVIDER = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
FLAGS = "-std=gnu11", "-O1", "-fPIC", "-Wall"


def build(fetched: Path, out: Path) -> Path:
    """Return the folder of libraries, built in ``out`` from what ``fetch.py`` has left in ``fetched``.

    Functions that no source defines are stubs that return 0: those that onnxruntime links, and whatever a library
    looks for by name as it runs.
    """
    out.mkdir(parents=True, exist_ok=True)
    provider, include = fetched / PROVIDER, fetched / "nvidia/cu13/include"
    objects = [out / f"{source.stem}.o" for source in SOURCES]
    for source, made in zip(SOURCES, objects, strict=True):
        _run("gcc", *FLAGS, f"-I{include}", "-c", source, "-o", made)
    versions = _linked(provider)
    ffmpeg = Path(av.__file__).parents[1].glob("av.libs/libav*")
    wanted = {name for names in versions.values() for name in names} | {"cuInit", "cuTensorMapEncodeTiled"}
    wanted |= _mentioned([provider], rb"cudnn[A-Z]\w+") | _mentioned(ffmpeg, rb"cu[A-Z]\w+|cuvid[A-Z]\w+")
    defined = {line.split()[-1] for line in _run("nm", "--defined-only", *objects).splitlines() if " T " in line}
    stubs, script, library = out / "stubs.c", out / "versions", out / "libnullcuda.so"
    stubs.write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in sorted(wanted - defined)))
    nodes = [f"{version} {{ global: {'; '.join(sorted(names))}; }};\n" for version, names in versions.items()]
    script.write_text("".join([*nodes, "nullcuda { global: *; };\n"]))
    linking = f"-Wl,--version-script={script}", "-Wl,-soname,libnullcuda.so"
    _run("gcc", "-shared", "-fPIC", *objects, stubs, "-o", library, *linking)
    for name in {*NAMES, *versions}:
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(library.name)
    return out


def _linked(library: Path) -> dict[str, set[str]]:
    """Return the CUDA functions that a library links, by the version of each, which is a library's name."""
    found = defaultdict(set)
    for line in _run("nm", "-D", "--undefined-only", library).splitlines():
        name, _, version = line.split()[-1].partition("@")
        if version.startswith("libcu"):
            found[version].add(name)
    return found


def _mentioned(libraries: Iterable[Path], pattern: bytes) -> set[str]:
    """Return the names in libraries' texts."""
    found = set()
    for library in libraries:
        with library.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
            found |= {name.decode() for name in re.findall(rb"\0(" + pattern + rb")(?=\0)", text)}
    return found


def _run(*command: str | Path) -> str:
    return subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True).stdout

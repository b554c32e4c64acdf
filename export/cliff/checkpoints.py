"""Read untrusted PyTorch checkpoints safely: weights only, no code is run."""

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from cliffvid.errors import InputError, ModelError
from cliffvid.inputs import open_input
from cliffvid.npz import check_unpacked, size_of

KEPT_UNDER = ("model", "state_dict")  # official and MMHuman3D/Lightning; a bare state dict is accepted too
PREFIXES = ("module.", "model.")  # key prefixes of DataParallel and Lightning


class Inert:
    """Placeholder for classes that some trainers pickle beside the weights; it accepts any state and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def harmless_classes() -> list[Callable[..., object] | tuple[Callable[..., object], str]]:
    """Return the classes allowed beside the weights, with their replacements: a plain container or ``Inert``.

    None of these runs code when loaded. NumPy's dtypes and arrays are not allowed, because their pickled state can
    have effects. Configuration nodes of yacs and Lightning become dictionaries.
    """
    return [
        *((Inert, name) for name in ("argparse.Namespace", "numpy.dtype", "numpy.ndarray")),
        *((Inert, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # numpy 1 and 2
        *((Inert, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
        (OrderedDict, "yacs.config.CfgNode"),
        (OrderedDict, "pytorch_lightning.utilities.parsing.AttributeDict"),
        (Inert, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
        (Inert, "pytorch_lightning.callbacks.early_stopping.EarlyStopping"),
    ]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's weights on the CPU by key, without the prefixes of DataParallel and Lightning.

    Raises InputError for a missing file, ModelError if it is not a checkpoint or contains more than data.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give the path of the checkpoint (.pt, .pth or .ckpt) you downloaded")
    with open_input(path) as stream:
        return find_weights(path, read_checkpoint(path, stream))


def read_checkpoint(path: Path, stream: BinaryIO) -> object:
    """Return the contents of an open checkpoint: weights, numbers and text. Raises ModelError."""
    start = stream.read(512).lstrip()
    stream.seek(0)
    if start[:1] == b"<":
        raise ModelError(
            f"{path}: a web page, expected a PyTorch checkpoint; the download site asked for something in between: "
            "open its link in a browser, confirm, and save the file itself"
        )
    try:
        check_sums(stream)
        with torch.serialization.safe_globals(harmless_classes()), warnings.catch_warnings():
            # both are followed by a clearer error
            warnings.filterwarnings("ignore", "'torch.load' received a zip file that looks like a TorchScript archive")
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path}: {explain_refusal(str(error))}") from None
    except Exception as error:  # a damaged file raises a dozen unrelated classes, from EOFError to RuntimeError
        reason = str(error).split("\n")[0].split(". ")[0] or type(error).__name__
        raise ModelError(
            f"{path}: damaged, or no PyTorch checkpoint ({reason}); compare its size with the one "
            "on the download page and download it again"
        ) from error


def check_sums(stream: BinaryIO) -> None:
    """Raise ValueError for a zip file with a wrong checksum, or one that unpacks to far more than its size.

    torch.load does not check this.
    """
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            check_unpacked(size_of(stream), sum(item.file_size for item in archive.infolist()))
            if part := archive.testzip():
                raise ValueError(f"its part {part} has changed since it was written")
    stream.seek(0)


def explain_refusal(message: str) -> str:
    """Return why the restricted reader failed; name the disallowed class if there is one."""
    named = re.search(r"(?:GLOBAL|Unsupported class|unrecognized function|class) ([\w.]+\.[\w.]+)", message)
    if not named:
        return "damaged, or no PyTorch checkpoint; download it again"
    return (
        f"refused: beside weights it holds {named[1]}, which could run code when loaded; expected tensors, numbers and "
        "text only. Nothing was run. If you trust the file, save its weights alone where it was made: "
        "torch.save({'state_dict': torch.load(PATH, weights_only=False)['state_dict']}, NEW_PATH)"
    )


def find_weights(path: Path, content: object) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint's contents, keys without prefixes. Raises ModelError if there is none."""
    weights = content
    if isinstance(content, dict):
        weights = next((content[name] for name in KEPT_UNDER if isinstance(content.get(name), dict)), content)
    tensors = {k: v for k, v in weights.items() if isinstance(v, Tensor)} if isinstance(weights, dict) else {}
    if not tensors:
        found = f"a dictionary of {sorted(map(str, content))[:5]}" if isinstance(content, dict) else type(content)
        raise ModelError(
            f"{path}: no weights: expected a state dict, bare or under 'model' or 'state_dict', got {found}"
        )
    return {bare_key(str(key)): tensor for key, tensor in tensors.items()}


def bare_key(key: str) -> str:
    """Return the key without any of PREFIXES."""
    while key.startswith(PREFIXES):
        key = key.split(".", 1)[1]
    return key


def require(path: Path, what: str, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raise ModelError unless keys and shapes of the weights are the expected ones and all values are finite.

    Batch counters may be missing, since no result depends on them. Any floating-point type is accepted.
    """
    missing = [key for key in expected.keys() - found.keys() if not key.endswith("num_batches_tracked")]
    unexpected = found.keys() - expected.keys()
    both = [(key, expected[key], found[key]) for key in sorted(expected.keys() & found.keys())]
    shapes = [f"{key} {tuple(f.shape)} instead of {tuple(e.shape)}" for key, e, f in both if e.shape != f.shape]
    types = [f"{key} {f.dtype}" for key, e, f in both if e.is_floating_point() != f.is_floating_point()]
    broken = [key for key, _, f in both if not f.sum(dtype=torch.float32).isfinite()]  # a sum keeps NaN and inf
    problems = {
        "missing": sorted(missing),
        "unexpected": sorted(unexpected),
        "of the wrong shape": shapes,
        "of the wrong type": types,
        "with values that are not finite": broken,
    }
    told = [f"{len(keys)} tensors {name}: {some(keys)}" for name, keys in problems.items() if keys]
    if told:
        raise ModelError(
            f"{path}: expected the {len(expected)} tensors of {what}, found {len(found)}, {'; '.join(told)}. "
            "It is damaged, or of another network than any that cliffvid knows: take the published checkpoint"
        )


def some(keys: list[str], most: int = 3) -> str:
    """Return the first keys as text, and whether there are more."""
    return ", ".join(keys[:most]) + (", …" if len(keys) > most else "")

"""Checkpoints as others saved them: read without running their code, and laid into a model entry by entry; our own."""

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unike_lib.backbones.entries import refuse_entries
from unike_lib.backbones.folder import NO_TENSORS, check_kind
from unike_lib.io import first_line, write_checksums
from unike_lib.types import InputError

Tensors = dict[str, Tensor]
WRAPPERS = ("model", "state_dict")


def read_checkpoint(path: Path) -> Tensors:
    """Return the tensors of a .pth file by name, mapped from disk where its format allows.

    Training frameworks keep them beside other things, under "model" or "state_dict".

    Raises:
        InputError: the file is missing, broken, holds more than data, or holds no tensors.
    """
    check_kind(path)
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, all with one meaning here
        # Torch's own message advises to run the code that may be inside.
        reason = NO_TENSORS if type(error).__name__ == "UnpicklingError" else first_line(error)
        raise InputError(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(whole, dict):
        raise InputError(
            f"{path}: a checkpoint without tensors by name; "
            f"expected an original checkpoint (found a {type(whole).__name__})"
        )
    for name in WRAPPERS:
        if isinstance(whole.get(name), dict):
            whole = whole[name]
    tensors = {str(name): value for name, value in whole.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path}: a checkpoint without tensors; expected an original checkpoint")
    return tensors


def assign(model: nn.Module, tensors: Tensors, source: str, called: Callable[[str], str]) -> None:
    """Make tensors the parameters of a model, without a copy.

    Args:
        model: of the right architecture, for example on torch's meta device.
        tensors: by the model's names.
        source: where they come from, for the message.
        called: what the message calls an entry of the model.

    Raises:
        InputError: names missing, unexpected and mis-shaped entries, all in one message.
    """
    wanted = model.state_dict()
    shapes = [(called(n), tensors[n].shape, wanted[n].shape) for n in wanted.keys() & tensors.keys()]
    missing = map(called, wanted.keys() - tensors.keys())
    refuse_entries(source, missing, tensors.keys() - wanted.keys(), shapes)
    model.load_state_dict(tensors, assign=True)


def load_whole(kind: Any, folder: str | Path, **settings: Any) -> Any:
    """Return a model of a Hugging Face class from its folder or hub id; `settings` go to its `from_pretrained`.

    Left to itself the class draws what is missing at random, with no more than a warning.

    Raises:
        InputError: names missing, unexpected and mis-shaped entries, all in one message.
    """
    model, report = kind.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True, **settings)
    refuse_entries(str(folder), report["missing_keys"], report["unexpected_keys"], report["mismatched_keys"])
    return model


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a folder that becomes `out`, with the checksums of all its files, when the block ends without an error."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        yield folder
        files = [each for each in folder.rglob("*") if each.is_file()]
        for file in files:
            file.chmod(0o644)
        write_checksums(folder, files)
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)

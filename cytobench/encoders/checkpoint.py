"""Weights files of unknown make, read without running any code they hold."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cytobench.errors import WrongWeightsError

State = dict[str, torch.Tensor]

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "backbone.")
_AGAIN = "download it again or give the sha256 in the card"


def read(path: Path) -> Any:
    """Return what the weights file holds: a flat `State` for safetensors, else whatever was saved.

    Pickles are read with `weights_only=True`; plain `argparse.Namespace` and numpy scalars, as training
    scripts leave them beside the weights, are let through. Raises WrongWeightsError with one sentence.
    """
    head = _head(path)
    if _is_safetensors(head):
        return _read_safetensors(path)
    if head.startswith(b"PK"):
        return _read_pickle(path, mmap=True)
    if head.startswith(b"\x80"):
        return _read_pickle(path, mmap=False)
    if head.lstrip()[:1] == b"<":
        raise WrongWeightsError(f"{path} is a web page, not weights; {_AGAIN}.")
    raise WrongWeightsError(
        f"{path} is no checkpoint: it is neither a PyTorch nor a safetensors file; check the path or "
        f"{_AGAIN}."
    )


def tensors(held: Any, path: Path) -> State:
    """Return the tensors of `held`, unwrapped from `{"state_dict": …}` and the like.

    Raises WrongWeightsError where there are none.
    """
    for wrapper in _WRAPPERS:
        inner = held.get(wrapper) if isinstance(held, Mapping) else None
        if isinstance(inner, Mapping):
            held = inner
    if not isinstance(held, Mapping):
        raise WrongWeightsError(
            f"{path} holds a {type(held).__name__}, not named weights; save the model's state_dict() instead."
        )
    state = {str(key): value for key, value in held.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise WrongWeightsError(
            f"{path} holds no weights (its keys: {_some(held)}); check that it is the right file."
        )
    return state


def branch_of(held: Any, branch: str, path: Path) -> tuple[Any, str]:
    """Return the asked branch of a self-distillation checkpoint, and which was found ("" for a plain file).

    Raises WrongWeightsError when only the other branch is there.
    """
    if not isinstance(held, Mapping):
        return held, ""
    present = [name for name in ("teacher", "student") if isinstance(held.get(name), Mapping)]
    if not present:
        return held, ""
    if branch not in present:
        raise WrongWeightsError(
            f'{path} holds only the {present[0]} branch, not the {branch}; set branch = "{present[0]}" in '
            f"the card, or ?branch={present[0]} after the path, if that is the one you want."
        )
    return held[branch], branch


def strip_prefixes(state: Mapping[str, torch.Tensor]) -> State:
    """Return `state` with leading `module.` and `backbone.` removed from the keys, in any order."""
    stripped: State = {}
    for key, value in state.items():
        name = key
        while name.startswith(_PREFIXES):
            name = name.split(".", 1)[1]
        stripped[name] = value
    return stripped


def load_strictly(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, arch: str) -> None:
    """Copy `state` into `module`; raises WrongWeightsError naming what is missing, too much or misshapen."""
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {list(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    found = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
    faults = [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in found if keys]
    if faults:
        raise WrongWeightsError(
            f"{path} does not fit the architecture '{arch}': weights {', '.join(faults)}; correct arch or "
            "arch_options in the card."
        )
    module.load_state_dict(dict(state), strict=True)


def _some(keys: Iterable[Any], limit: int = 3) -> str:
    names = [str(key) for key in keys]
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise WrongWeightsError(
            f"{path} cannot be read ({error.strerror}); check the path and its rights."
        ) from error


def _is_safetensors(head: bytes) -> bool:
    """A safetensors file starts with the length of its JSON header, eight bytes, then the header."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WrongWeightsError(f"{path} is truncated or damaged ({error}); {_AGAIN}.") from error


def _read_pickle(path: Path, *, mmap: bool) -> Any:
    if mmap and not zipfile.is_zipfile(path):
        raise WrongWeightsError(f"{path} is truncated: the end of the file is missing; {_AGAIN}.")
    try:
        with _plain_globals():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise WrongWeightsError(_why_refused(path, error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WrongWeightsError(f"{path} is truncated or damaged ({first[:120]}); {_AGAIN}.") from error


def _why_refused(path: Path, error: Exception) -> str:
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused:
        return (
            f"{path} asks to run code of its own ({refused[1]}), which CytoBench never does; save only the "
            "state_dict() and use that file."
        )
    return f"{path} is truncated or no checkpoint; {_AGAIN}."


def _plain_globals() -> AbstractContextManager[Any]:
    """Let through what training scripts store beside weights and what can do no harm."""
    if not hasattr(torch.serialization, "safe_globals"):  # before PyTorch 2.5
        return nullcontext()
    scalar: Any = np.float64(0.0).__reduce__()[0]
    dtypes = [type(np.dtype(code)) for code in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    allowed: list[Any] = [argparse.Namespace, np.dtype, *dtypes]
    allowed += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    context: AbstractContextManager[Any] = torch.serialization.safe_globals(allowed)
    return context

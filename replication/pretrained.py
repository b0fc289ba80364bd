"""Loads weights of timm or transformers from a local safetensors file into a model of ours."""

import warnings
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

SHOWN = 3  # names in a message


def load_weights(network, path, head=None, convert=None):
    """Copy a file's weights into a network, every one of them and nothing else.

    Args:
        path: a local .safetensors file.
        head: name of the classifier, which stays fresh, with a warning, where its number of classes differs.
        convert: state dict of the file -> state dict in the network's names and layouts; None leaves it as it is.
    Raises:
        ValueError: no such file, another format, or names or shapes that differ from the network's.
    """
    state = _read(path)
    state = convert(state) if convert else state
    own = network.state_dict()
    if head is not None and _shape(state, f"{head}.weight") != _shape(own, f"{head}.weight"):
        state = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
        state |= {key: value for key, value in own.items() if key.startswith(f"{head}.")}
        classes = own[f"{head}.weight"].shape[0]
        warnings.warn(f"weights={path}: the classifier for {classes} classes starts fresh", stacklevel=2)
    _check_names(path, state, own)
    different = [key for key in own if state[key].shape != own[key].shape]
    if different:
        pairs = (f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in different[:SHOWN])
        raise ValueError(
            f"weights={path}: {len(different)} of {len(own)} shapes differ from the model's ({', '.join(pairs)}); "
            "set the model's options and the data's size to those of the weights"
        )
    network.load_state_dict(state)


def _read(path):
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"weights={path}: expected a local .safetensors file; other formats can run code")
    if not Path(path).is_file():
        raise ValueError(f"weights={path}: no such file; give the path of a .safetensors file on this machine")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights={path}: cannot be read ({error}); copy the file again") from None


def _check_names(path, state, own):
    missing, unknown = [key for key in own if key not in state], [key for key in state if key not in own]
    if missing or unknown:
        found = [f"{len(keys)} {word} ({', '.join(keys[:SHOWN])})" for word, keys in
                 (("missing", missing), ("not the model's", unknown)) if keys]  # fmt: skip
        raise ValueError(f"weights={path}: {' and '.join(found)}; choose the model that the weights belong to")


def _shape(state, key):
    return state[key].shape if key in state else None

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
    fresh = head is not None and _classes(state, head) != _classes(own, head)
    if fresh:
        state = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
        state |= {key: value for key, value in own.items() if key.startswith(f"{head}.")}
    _check_names(path, state, own)
    different = [key for key in own if state[key].shape != own[key].shape]
    if different:
        pairs = (f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}" for key in different[:SHOWN])
        raise ValueError(
            f"weights={path}: {len(different)} of {len(own)} shapes differ from the model's ({', '.join(pairs)}); "
            "set the model's options and the data's size to those of the weights"
        )
    network.load_state_dict(state)
    if fresh:
        warnings.warn(f"weights={path}: the classifier for {_classes(own, head)} classes starts fresh", stacklevel=2)


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
    keys = {"missing": own.keys() - state.keys(), "not the model's": state.keys() - own.keys()}
    found = [f"{len(names)} {word} ({', '.join(sorted(names)[:SHOWN])})" for word, names in keys.items() if names]
    if found:
        raise ValueError(f"weights={path}: {' and '.join(found)}; choose the model that the weights belong to")


def _classes(state, head):
    return len(state[f"{head}.weight"]) if f"{head}.weight" in state else None

"""Which layers of a model have weights that a method may select, and how their weights read as a matrix [O, I]."""

from __future__ import annotations

from torch import Tensor, nn

HEAD = "lm_head"  # name of a language model's head in transformers and in this project


def is_conv1d(module: nn.Module) -> bool:
    """Whether a module is transformers' `Conv1D`: a linear layer whose weight is stored as [I, O]."""
    return any(cls.__name__ == "Conv1D" for cls in type(module).__mro__) and hasattr(module, "nf")


def vocabulary_heads(model: nn.Module) -> set[nn.Module]:
    """Layers that map to a vocabulary: tied to an embedding, or the head of a language model by name."""
    embeddings = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    return {
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (HEAD in name.split(".") or module._parameters.get("weight") in embeddings)
    }


def prunable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer that is no vocabulary head, and every convolution of a convolutional network, by name.

    Depthwise and grouped convolutions, and a vision transformer's only one, its patch embedding, are left out.
    """
    heads = vocabulary_heads(model)
    convolutional = sum(isinstance(m, nn.Conv2d) for m in model.modules()) > 1
    return {
        name: module
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) and module not in heads)
        or is_conv1d(module)
        or (convolutional and isinstance(module, nn.Conv2d) and module.groups == 1)
    }


def num_weights(model: nn.Module) -> dict[str, int]:
    """Weights of every prunable layer."""
    return {name: layer.weight.numel() for name, layer in prunable_layers(model).items()}


def to_matrix(layer: nn.Module, tensor: Tensor) -> Tensor:
    """A tensor of the shape of a layer's weight as the matrix [O, I]; a view."""
    if is_conv1d(layer):
        return tensor.T
    return tensor.flatten(1) if tensor.ndim > 2 else tensor


def from_matrix(layer: nn.Module, matrix: Tensor) -> Tensor:
    """A matrix [O, I] in the shape of a layer's weight."""
    if is_conv1d(layer):
        return matrix.T
    return matrix.view(layer.weight.shape)

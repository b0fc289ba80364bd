"""GPT-2 of transformers, randomly initialised and small, with linear layers in place of its Conv1D."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hundredfold.methods.options import Count, Probability
from hundredfold.replication.models._causal import (
    CausalLM,
    causal_attention,
    fresh_linear,
    replace_conv1d,
    state_from_gpt2,
)
from hundredfold.replication.models.base import Deviation, Model, scaled, scaled_neurons
from hundredfold.replication.pretrained import load_weights

VARIANTS = {
    "small": {"dim": 768, "depth": 12, "heads": 12, "hidden": 3072, "init_std": 0.02},
    "medium": {"dim": 1024, "depth": 24, "heads": 16, "hidden": 4096, "init_std": 0.02},
    "large": {"dim": 1280, "depth": 36, "heads": 20, "hidden": 5120, "init_std": 0.02},
    "xl": {"dim": 1600, "depth": 48, "heads": 25, "hidden": 6400, "init_std": 0.02},
}


def _resize_attention(attention, heads, config):
    """Give an attention of the full width its own number of heads, of the same size, freshly drawn."""
    inner = heads * attention.head_dim
    # GPT-2 draws what writes to the residual stream smaller, by the root of the number of writers.
    residual_std = config.initializer_range / math.sqrt(2 * config.n_layer)
    attention.c_attn = fresh_linear(config.n_embd, 3 * inner, bias=True, std=config.initializer_range)
    attention.c_proj = fresh_linear(inner, config.n_embd, bias=True, std=residual_std)
    attention.num_heads, attention.split_size = heads, inner


@dataclass(frozen=True)
class Gpt(Model):
    """GPT-2 (transformers' class and initialisation), head tied to the token embedding, learned positions.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
    """

    dim: Count = 64  # residual stream
    depth: Count = 2
    heads: Count = 4
    hidden: Count = 256  # neurons of a feed-forward block
    dropout: Probability = 0.0  # GPT-2's own is 0.1; one pass over the data needs none
    init_std: Deviation = 0.07  # transformers' 0.02 is for 768 channels; 0.07 keeps std * sqrt(dim) the same for 64
    variant: Literal["small", "medium", "large", "xl"] | None = None  # GPT-2's own sizes: 124, 355, 774, 1558 M
    weights: str | None = None  # .safetensors file of transformers' GPT-2; its vocabulary is 50,257 tokens

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    small: ClassVar[dict[str, Any]] = {"dim": 32, "depth": 1, "heads": 2, "hidden": 64}

    def __post_init__(self):
        self.apply_preset("variant", VARIANTS)
        super().__post_init__()
        if self.dim % self.heads:
            raise ValueError(f"heads={self.heads}: expected a divisor of dim={self.dim}")

    def construct(self, spec, width):
        from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel  # takes seconds to import

        config = GPT2Config(
            vocab_size=spec.num_classes,
            n_positions=spec.input_shape[0],
            n_embd=self.dim,
            n_layer=self.depth,
            n_head=self.heads,
            n_inner=scaled_neurons(self.hidden, width),
            activation_function="gelu_pytorch_tanh",  # GPT-2's own function, in one kernel
            resid_pdrop=self.dropout,
            embd_pdrop=self.dropout,
            attn_pdrop=self.dropout,
            initializer_range=self.init_std,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation=causal_attention(),
        )
        network = GPT2LMHeadModel(config)
        replace_conv1d(network)
        heads = scaled(self.heads, width)
        if heads != self.heads:
            for block in network.transformer.h:
                _resize_attention(block.attn, heads, config)
        model = CausalLM(network.transformer, network.lm_head)
        if self.weights is not None:
            load_weights(model, self.weights, convert=lambda state: state_from_gpt2(state, config.n_positions))
        return model

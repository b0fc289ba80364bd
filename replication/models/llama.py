"""Llama of transformers, randomly initialised and small: gated neurons, grouped queries, rotary positions."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hundredfold.methods.options import Count
from hundredfold.replication.models._causal import CausalLM, causal_attention, fresh_linear, state_from_llama
from hundredfold.replication.models.base import Deviation, Model, scaled, scaled_neurons
from hundredfold.replication.pretrained import load_weights

_LARGE = {"init_std": 0.02, "norm_eps": 1e-5}
VARIANTS = {
    "110m": {"dim": 768, "depth": 12, "heads": 12, "groups": 12, "hidden": 2048, **_LARGE},
    "1.1b": {"dim": 2048, "depth": 22, "heads": 32, "groups": 4, "hidden": 5632, **_LARGE},
    "7b": {"dim": 4096, "depth": 32, "heads": 32, "groups": 32, "hidden": 11008, **_LARGE},
}


def _resize_attention(attention, groups, config):
    """Give an attention of the full width its own number of key-value heads with their queries, freshly drawn."""
    keys = groups * attention.head_dim
    queries = keys * attention.num_key_value_groups
    std = config.initializer_range
    attention.q_proj = fresh_linear(config.hidden_size, queries, bias=False, std=std)
    attention.k_proj = fresh_linear(config.hidden_size, keys, bias=False, std=std)
    attention.v_proj = fresh_linear(config.hidden_size, keys, bias=False, std=std)
    attention.o_proj = fresh_linear(queries, config.hidden_size, bias=False, std=std)


@dataclass(frozen=True)
class Llama(Model):
    """Llama (transformers' class and initialisation), head not tied to the token embedding.

    Variants: 7b is Llama 2's; 1.1b is TinyLlama's, arXiv:2401.02385; 110m has the body of llama2.c's stories110M.
    Source: Touvron et al. 2023, arXiv:2302.13971 and arXiv:2307.09288; grouped queries: Ainslie et al. 2023,
    arXiv:2305.13245.
    """

    dim: Count = 64  # residual stream
    depth: Count = 2
    heads: Count = 4  # queries
    groups: Count = 2  # key-value heads; each serves heads/groups queries
    hidden: Count = 176  # neurons of a gated block: about 8/3 of dim
    init_std: Deviation = 0.07  # transformers' 0.02 is for 768 channels; 0.07 keeps std * sqrt(dim) the same for 64
    norm_eps: Deviation = 1e-6  # of the norms; Llama 2 and TinyLlama have 1e-5
    variant: Literal["110m", "1.1b", "7b"] | None = None  # published sizes
    weights: str | None = None  # .safetensors file of transformers' Llama, in one piece

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    small: ClassVar[dict[str, Any]] = {"dim": 32, "depth": 1, "heads": 4, "groups": 2, "hidden": 48}

    def __post_init__(self):
        self.apply_preset("variant", VARIANTS)
        super().__post_init__()
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ValueError(f"heads={self.heads}: expected a divisor of dim={self.dim} that leaves heads of even size")
        if self.heads % self.groups:
            raise ValueError(f"groups={self.groups}: expected a divisor of heads={self.heads}")

    def construct(self, spec, width):
        from transformers.models.llama import LlamaConfig, LlamaForCausalLM  # takes seconds to import

        config = LlamaConfig(
            vocab_size=spec.num_classes,
            hidden_size=self.dim,
            intermediate_size=scaled_neurons(self.hidden, width),
            num_hidden_layers=self.depth,
            num_attention_heads=self.heads,
            num_key_value_heads=self.groups,
            head_dim=self.dim // self.heads,
            max_position_embeddings=spec.input_shape[0],
            rms_norm_eps=self.norm_eps,
            tie_word_embeddings=False,
            initializer_range=self.init_std,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation=causal_attention(),
        )
        network = LlamaForCausalLM(config)
        groups = scaled(self.groups, width)
        if groups != self.groups:
            for layer in network.model.layers:
                _resize_attention(layer.self_attn, groups, config)
        model = CausalLM(network.model, network.lm_head)
        if self.weights is not None:
            load_weights(model, self.weights, convert=state_from_llama)
        return model

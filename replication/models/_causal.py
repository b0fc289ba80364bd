"""What the two language models share: from a model of transformers to a plain module of tokens and logits."""

import torch
from torch import nn


class CausalLM(nn.Module):
    """Next-token logits from a body and a head of transformers, without caches, labels or output records.

    Args:
        body: maps `input_ids` to an output whose first item is the hidden state [B, L, D].
        head: hidden state -> logits [B, L, C].
    """

    def __init__(self, body, head):
        super().__init__()
        self.body = body
        self.lm_head = head

    def forward(self, tokens):
        return self.lm_head(self.body(input_ids=tokens, use_cache=False)[0])

    def continued(self, tokens, memory=None):
        """Logits of the token after these [B, C], and what to hand over with the tokens that follow them."""
        output = self.body(input_ids=tokens, past_key_values=memory, use_cache=True)
        return self.lm_head(output[0][:, -1]), output.past_key_values


def causal_attention():
    """Name of PyTorch's fused attention without a mask, for `attn_implementation`.

    Under the name "sdpa" transformers asks at every pass whether a batch holds several packed texts, for which the host
    waits, and a compiler cannot know the answer and gets a mask, with which no fused kernel for causal attention runs.
    A text of ours begins with its window.
    """
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register("causal", sdpa_attention_forward)
    return "causal"


def fresh_linear(inputs, outputs, bias, std):
    """Make a linear layer as transformers initialises one: normal weights of deviation `std`, zero bias."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(layer.weight, std=std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def linear_from_conv1d(conv):
    """Make the `nn.Linear` [O, I] that computes what a `Conv1D` [I, O] of transformers does."""
    inputs, outputs = conv.weight.shape
    layer = nn.Linear(inputs, outputs, device=conv.weight.device, dtype=conv.weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(conv.weight.T)
        layer.bias.copy_(conv.bias)
    return layer


def replace_conv1d(module):
    """Put a linear layer in the place of every `Conv1D` below `module`; the function computed stays the same."""
    from transformers.pytorch_utils import Conv1D

    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv1D):
                setattr(parent, name, linear_from_conv1d(child))


def state_from_gpt2(state, positions):
    """Rename and transpose the weights of a GPT-2 of transformers; those of a `CausalLM` stay as they are.

    Args:
        positions: of the network; a file with more keeps its first ones, which is the same function on short texts.
    """
    if not any(key.startswith("body.") for key in state):
        state = {_body_name(key, "transformer."): value for key, value in state.items()}
        # Old files hold the causal masks, which are no weights.
        state = {key: value for key, value in state.items() if not key.endswith((".attn.bias", ".attn.masked_bias"))}
        transposed = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")  # Conv1D holds [I, O]
        state = {key: value.T.contiguous() if key.endswith(transposed) else value for key, value in state.items()}
    if "lm_head.weight" not in state and "body.wte.weight" in state:  # tied: the file holds it once
        state = state | {"lm_head.weight": state["body.wte.weight"]}
    if "body.wpe.weight" in state:
        state = state | {"body.wpe.weight": state["body.wpe.weight"][:positions]}
    return state


def state_from_llama(state):
    """Rename the weights of a Llama of transformers; a head that is tied to the embedding is copied from it."""
    state = {_body_name(key, "model."): value for key, value in state.items() if "rotary_emb" not in key}
    if "lm_head.weight" not in state and "body.embed_tokens.weight" in state:
        state["lm_head.weight"] = state["body.embed_tokens.weight"].clone()
    return state


def _body_name(key, prefix):
    return key if key.startswith(("lm_head.", "body.")) else f"body.{key.removeprefix(prefix)}"

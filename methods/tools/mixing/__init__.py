"""Context mixing: a language model of looked-up counts and gated linear mixers."""

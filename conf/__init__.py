"""Configurations: one file per choice of a Hydra group, and per study."""

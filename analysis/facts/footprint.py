"""Carbon and cost of a study: its joules times what a place charges for them."""

from __future__ import annotations

import pandas as pd

from hundredfold.analysis import formatting
from hundredfold.analysis.formatting import UNKNOWN

# Electricity of the world in 2023: 480 g of CO2 a kWh (Ember, Global Electricity Review 2024). The price is round.
GRAMS, PRICE = 480.0, 0.25
KWH = 3.6e6


def footprint(runs: pd.DataFrame) -> str:
    """Grams and cents of everything that was drawn, in a sentence."""
    joules = sum(sum(phases.values()) for phases in runs.phases_j.dropna())
    if not joules:
        return UNKNOWN
    grams, cents = (formatting.number(joules / KWH * each) for each in (GRAMS, 100 * PRICE))
    return (
        f"{grams} g of CO2 at {GRAMS:g} g a kWh (the world in 2023, Ember), {cents} cents at {PRICE:g} EUR a kWh; both "
        "are constants of a place, so that carbon and cost fall by the factor of the joules and by no other"
    )

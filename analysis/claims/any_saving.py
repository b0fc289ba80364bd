"""The least one may ask: training takes less energy than dense training, by any factor.

Expected: supported wherever the back end really shrinks the tensors.
"""

from __future__ import annotations

from hundredfold.analysis.claims.energy_100x import EnergyRatio
from hundredfold.analysis.statistics import Region

CLAIM = EnergyRatio(
    name="any_saving",
    title="Any saving at all",
    order=40,
    statement="Training takes less energy than dense training.",
    estimand="geometric mean of E_dense / E_arm, paired by seed",
    region=Region(1.0, strict=True),
    uses_energy=True,
)

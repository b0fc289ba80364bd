"""A saving that is worth having: three times, at no loss, in one and the same arm.

Three is what no method can reach that selects in the backward pass alone, or in the weight gradient. Expected: refuted
for selection that is the same for every input, unless the network was much too large.
"""

from dataclasses import replace

from hundredfold.analysis.claims import energy_100x, no_accuracy_lost
from hundredfold.analysis.claims.conjunction import Conjunction
from hundredfold.analysis.statistics import Region

SAVED = Region(3.0)

CLAIM = Conjunction(
    name="saves_and_keeps",
    title="Three times less energy at no loss",
    order=35,
    statement="One arm takes at most a third of dense training's energy and loses less than half a point of accuracy.",
    loss_statement="One arm takes at most a third of dense training's energy and loses less than 0.01 nats per token.",
    estimand="E_dense / E_arm and the difference of test accuracy, in one arm, both paired by seed",
    loss_estimand="E_dense / E_arm and the difference of test loss, in one arm, both paired by seed",
    region=SAVED,
    uses_energy=True,
    family="further",
    parts=(replace(energy_100x.CLAIM, region=SAVED), no_accuracy_lost.CLAIM),
)

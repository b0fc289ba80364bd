"""The whole claim of the text: 100 times less energy and 2 points more accuracy, in one and the same arm.

Expected: refuted.
"""

from hundredfold.analysis.claims import accuracy_gain, energy_100x
from hundredfold.analysis.claims.conjunction import Conjunction
from hundredfold.analysis.statistics import Region

CLAIM = Conjunction(
    name="both_at_once",
    title="Both at once",
    order=10,
    statement="One arm takes at most a hundredth of dense training's energy and is at least 2 points more accurate.",
    loss_statement="One arm takes at most a hundredth of dense training's energy and its loss is at least 2 % lower.",
    estimand="both of the two estimands below, in one arm",
    region=Region(100.0),
    uses_energy=True,
    parts=(energy_100x.CLAIM, accuracy_gain.CLAIM),
)

"""What a saving is worth having for: nothing is lost, within half a point or a hundredth of a nat.

Expected: depends on the density; refuted at the smallest one.
"""

from __future__ import annotations

from hundredfold.analysis.arm import Arm
from hundredfold.analysis.claims.accuracy_gain import QualityDifference
from hundredfold.analysis.statistics import Region

CLAIM = QualityDifference(
    name="no_accuracy_lost",
    title="No accuracy lost",
    order=50,
    statement="Test accuracy is less than half a point below that of dense training.",
    loss_statement="Test loss is less than 0.01 nats per token above that of dense training.",
    estimand="difference of test accuracy to dense, paired by seed",
    loss_estimand="loss of dense - loss, paired by seed",
    region=Region(-0.005, strict=True),
    loss_region=Region(-0.01, strict=True),
    uses_energy=False,
)


def keeps(arm: Arm) -> bool:
    """Whether the mean of an arm is no further below dense's than the claim allows."""
    value, sign = arm.difference.value, 1 if arm.metric == "accuracy" else -1
    allowed = CLAIM.region if arm.metric == "accuracy" else CLAIM.loss_region or CLAIM.region
    return value is not None and sign * value > allowed.low

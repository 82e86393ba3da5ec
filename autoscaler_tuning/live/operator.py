"""What an operator sets by hand while a controller runs."""

from dataclasses import dataclass, replace

from autoscaler_tuning.types import Decision


@dataclass(slots=True)
class Operator:
    """The operator's wishes: a pause, in which the pods are left to another autoscaler, and bounds.

    most: the highest upper bound, which --max-pods sets. Written by threads of the page, read by the control loop.
    """

    most: int
    paused: bool = False
    bounds: tuple[int, int] | None = None

    def set_bounds(self, least: int, most: int) -> None:
        """Keep the wanted pods within least and most. Raises ValueError, which states the rule."""
        if not 0 <= least <= most <= self.most or most < 1:
            raise ValueError(f"bounds must be 0 <= min <= max <= {self.most} with max >= 1, got {least}, {most}")
        self.bounds = (least, most)

    def applied(self, decision: Decision) -> Decision:
        """Return the decision within the bounds; its reason says if they changed it."""
        if self.bounds is None:
            return decision
        least, most = self.bounds
        pods = min(most, max(least, decision.pods))
        if pods == decision.pods:
            return decision
        reason = f"operator: {pods} pods, within the bounds {least} to {most} set by hand; {decision.reason}"
        return replace(decision, pods=pods, reason=reason)

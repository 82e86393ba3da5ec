"""The ledger of a load: how many of its requests were answered, late or lost."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SLO_S = 0.5


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of the requests of a load: when each was due, and its latency from then on, inf without an answer."""

    due_s: tuple[float, ...]
    latencies_s: tuple[float, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the ledger of a run that loadgen has saved."""
        columns = json.loads(path.read_text())["requests"]
        latencies_s = tuple(
            done_s - due_s if status == 200 else float("inf")
            for due_s, done_s, status in zip(columns["intended_s"], columns["done_s"], columns["status"], strict=True)
        )
        return cls(tuple(columns["intended_s"]), latencies_s)

    @property
    def lost(self) -> int:
        """Return the number of requests that were not answered with 200."""
        return sum(latency_s == float("inf") for latency_s in self.latencies_s)

    def late_ratio(self, from_s: float = 0.0) -> float:
        """Return the share of late or lost requests among those that were due from this second on."""
        late = [
            latency_s > SLO_S for due_s, latency_s in zip(self.due_s, self.latencies_s, strict=True) if due_s >= from_s
        ]
        return sum(late) / len(late)

    def show(self, what: str, most_pods: int) -> None:
        """Print the ledger."""
        planned = len(self.due_s)
        late = round(self.late_ratio() * planned)
        print(
            f"{what}: {planned} planned, {planned - self.lost} answered, {late} late, {self.lost} lost, "
            f"at most {most_pods} pods"
        )

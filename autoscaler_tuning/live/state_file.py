"""Keeps what a policy has learned in a file, so that a restarted controller does not begin ignorant."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autoscaler_tuning.policies.base import Policy, Remembers, StateError, remembering
from autoscaler_tuning.types import Decision, Observation

SAVE_EVERY_S = 10.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Saved:
    """A policy whose state is written to a file every ten seconds of its clock; a file that fails changes nothing.

    unix_s: wall clock, from which the next process knows how old the state is.
    """

    inner: Policy
    remembers: Remembers
    path: Path
    unix_s: Callable[[], float]
    _saved_s: float | None = None
    _failed: bool = False

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Return the decision of the policy, and save its state if that is due."""
        decision = self.inner.decide(obs)
        if obs.fresh and (self._saved_s is None or not 0 <= obs.now_s - self._saved_s < SAVE_EVERY_S):
            self._saved_s = obs.now_s
            self._save()
        return decision

    def _save(self) -> None:
        """Replace the file as a whole, so that a process that is killed leaves the old one."""
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            new.write_text(json.dumps({"unix_s": self.unix_s(), "state": self.remembers.state()}), encoding="utf-8")
            new.replace(self.path)
        except OSError as error:
            if not self._failed:
                log.warning("the state of the policy cannot be saved in %s: %s", self.path, error)
            self._failed = True
        else:
            self._failed = False


def with_state_file(policy: Policy, path: Path | None, unix_s: Callable[[], float]) -> Policy:
    """Return the policy with the state in the file, which it also writes; the policy itself if it remembers nothing.

    A file that is missing is created; one that cannot be used is reported in one line and replaced.
    """
    remembers = remembering(policy)
    if path is None or remembers is None:
        return policy
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        saved_s = found["unix_s"]
        remembers.restore(found["state"], max(0.0, unix_s() - saved_s))
    except FileNotFoundError:
        log.info("no state in %s yet", path)
    except (OSError, ValueError, TypeError, KeyError, StateError) as error:
        log.warning("the state in %s cannot be used, starting without it: %s", path, error)
    else:
        log.info("took the state of the policy in %s, %.0f s old", path, max(0.0, unix_s() - saved_s))
    return Saved(policy, remembers, path, unix_s)

"""Repairs observations, so that a policy never acts on impossible numbers, counters or times."""

from dataclasses import replace

from autoscaler_tuning.types import Observation, PodSample, Second

# Largest believable time, count and backlog; numbers beyond it come from an error and could overflow.
MOST = 1e12
# Shortest and longest believable service time.
LEAST_SERVICE_S, MOST_SERVICE_S = 1e-6, 86_400.0


class Observations:
    """The observations of one policy, with a clock and a counter of arrivals that never go back.

    If the counter falls, a dispatcher has restarted: the count continues from the last one, and the arrivals in between
    are unknown and count as 0. If the clock goes back, time continues from the last observation. A number that is
    negative, too large or not finite counts as unknown or 0; without a valid time or count the signals are not fresh.
    """

    def __init__(self) -> None:
        self._now_s = -MOST
        self._arrived = 0
        self._clock_offset_s = 0.0
        self._count_offset = 0
        self._seen: tuple[Second, ...] = ()
        self._any_bad = False

    def usable(self, obs: Observation) -> Observation:
        """Return the observation, the same object if nothing has to be repaired."""
        seconds = self._plain_seconds(obs.seconds)
        shifted = self._clock_offset_s or self._count_offset
        follows = obs.now_s >= self._now_s and obs.arrived >= self._arrived
        if shifted or not follows or seconds is not obs.seconds or not _is_plain(obs):
            return self._repaired(obs, seconds)
        self._now_s, self._arrived = obs.now_s, obs.arrived
        return obs

    def _repaired(self, obs: Observation, seconds: tuple[Second, ...]) -> Observation:
        known = -MOST < obs.now_s < MOST and 0 <= obs.arrived < MOST
        if known:
            if obs.now_s + self._clock_offset_s < self._now_s:
                # in whole seconds, because the seconds of the observation move with the clock
                self._clock_offset_s = float(-((obs.now_s - self._now_s) // 1))
            self._count_offset = max(self._count_offset, self._arrived - obs.arrived)
            self._now_s, self._arrived = obs.now_s + self._clock_offset_s, obs.arrived + self._count_offset
        offset_s = self._clock_offset_s
        return replace(
            obs,
            now_s=self._now_s if self._now_s > -MOST else 0.0,
            arrived=self._arrived,
            seconds=tuple(replace(one, index=one.index + round(offset_s)) for one in seconds) if offset_s else seconds,
            pods=tuple(_shifted(pod, offset_s) for pod in obs.pods) if offset_s else obs.pods,
            ready_pods=_count(obs.ready_pods),
            starting_pods=_count(obs.starting_pods),
            waiting=_count(obs.waiting),
            in_flight=_count(obs.in_flight),
            oldest_wait_s=_amount(obs.oldest_wait_s),
            feasible_backlog_s=_amount(obs.feasible_backlog_s),
            service_time_s=obs.service_time_s if _is_service_time(obs.service_time_s) else None,
            fresh=obs.fresh and known,
        )

    def _plain_seconds(self, seconds: tuple[Second, ...]) -> tuple[Second, ...]:
        """Return the seconds without impossible ones; those that were in the last observation are not checked again."""
        new = seconds[self._known(seconds) :]
        self._seen = seconds
        if not self._any_bad and all(map(_is_plain_second, new)):
            return seconds
        plain = tuple(filter(_is_plain_second, seconds))
        self._any_bad = len(plain) < len(seconds)
        return plain if self._any_bad else seconds

    def _known(self, seconds: tuple[Second, ...]) -> int:
        """Return how many of the seconds, from the first one, continue the last observation."""
        if not seconds or not self._seen:
            return 0
        shift = seconds[0].index - self._seen[0].index
        overlap = self._seen[shift:] if shift >= 0 else ()
        return len(overlap) if overlap and seconds[: len(overlap)] == overlap else 0


def _is_plain(obs: Observation) -> bool:
    counts = (obs.arrived, obs.waiting, obs.in_flight, obs.ready_pods, obs.starting_pods)
    return (
        -MOST < obs.now_s < MOST
        and min(counts) >= 0
        and max(counts) < MOST
        and 0 <= obs.feasible_backlog_s < MOST
        and 0 <= obs.oldest_wait_s < MOST
        and (obs.service_time_s is None or _is_service_time(obs.service_time_s))
    )


def _is_plain_second(second: Second) -> bool:
    loads = (second.concurrency, *second.by_pod)
    return 0 <= second.arrivals < MOST and all(0 <= load < MOST for load in loads)


def _is_service_time(time_s: float | None) -> bool:
    return time_s is not None and LEAST_SERVICE_S <= time_s <= MOST_SERVICE_S


def _count(value: int) -> int:
    return value if 0 <= value < MOST else 0


def _amount(value: float) -> float:
    return value if 0 <= value < MOST else 0.0


def _shifted(pod: PodSample, offset_s: float) -> PodSample:
    ready_s = None if pod.ready_s is None else pod.ready_s + offset_s
    return replace(pod, started_s=pod.started_s + offset_s, ready_s=ready_s)

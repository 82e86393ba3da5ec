"""Makes a row for the page each second, from what the control loop and the dispatchers say."""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import urllib3
from prometheus_client.parser import text_string_to_metric_families

from autoscaler_tuning.live.controller import Moment
from autoscaler_tuning.live.page.answers import AnswersOfSecond, AnswerWindow, parse_counts
from autoscaler_tuning.live.page.history import DecisionMark, PageHistory, PodStart, Ruler
from autoscaler_tuning.live.signals import ScrapeError
from autoscaler_tuning.live.troubles import Troubles
from autoscaler_tuning.policies.start_times import NewlyReady
from autoscaler_tuning.types import PodPhase, PodSample

EVERY_S = 1.0
MOST_AGE_S = 86_400.0  # also if there never were signals
RATE_HOLDS_S = 3.0  # age of the signals from which on the last rate of arrivals is not shown as the present one
CLASSES = ("high", "normal", "low")
COLD_START = "function_cold_start_seconds"
NO_ANSWERS = AnswersOfSecond(0.0, 0.0, 0.0, (None, None, None))

log = logging.getLogger(__name__)


def start_phases(pod: PodSample) -> dict[str, float]:
    """Return the phases of a start that our function reports among its metrics, in seconds and without overlap.

    Empty for a pod that does not report them: of another program, or not reachable from here.
    """
    if not pod.url:
        return {}
    try:
        page = urllib3.request("GET", f"{pod.url}/metrics", timeout=1.0, retries=False).data.decode()
        metrics = text_string_to_metric_families(page)
        told = {one.labels["phase"]: one.value for m in metrics if m.name == COLD_START for one in m.samples}
        interpreter_s, imports_s = told["interpreter"], told["imports"]
        # the engine loads in a second thread beside the imports
        rest_s = max(0.0, told["ready"] - interpreter_s - imports_s)
    except (urllib3.exceptions.HTTPError, ValueError, KeyError):
        return {}
    return {"interpreter": interpreter_s, "imports": imports_s, "engine and warm-up": rest_s}


def arrivals_rps(before: Moment | None, now: Moment) -> float | None:
    """Return the arrivals a second between the counts of two moments; None if they cannot be compared.

    The control loop counts about every half second, so the counts of two rows can be 0.5 or 1.5 s apart.
    """
    if before is None or before.arrived_s is None or now.arrived_s is None:
        return None
    arrived, took_s = now.arrived - before.arrived, now.arrived_s - before.arrived_s
    return round(arrived / took_s, 1) if arrived >= 0 and took_s > 0 else None  # a restarted dispatcher begins at 0


class DispatcherPages(Protocol):
    """Reads a page of each dispatcher that answers, by its address."""

    def read(self, path: str) -> dict[str, bytes]: ...


@dataclass(slots=True)
class Queues:
    """What waits at all dispatchers: by class, the oldest in seconds, expired, and the longest Retry-After."""

    waiting: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    oldest_s: float = 0.0
    expired: int = 0
    retry_after_s: float = 0.0

    def add(self, page: Mapping[str, Any]) -> None:
        """Add the answer of one dispatcher's /queue. Raises KeyError or TypeError if it is malformed."""
        for row in page["classes"]:
            self.waiting[row["priority"]] += row["waiting"]
            self.expired += row["expired"]
            self.oldest_s = max(self.oldest_s, row["oldest_wait_s"])
        self.retry_after_s = max(self.retry_after_s, page["retry_after_s"])


class Collector:
    """Feeds the history of one Service. The control loop calls `observe`, a thread of its own makes the rows.

    phases_of: returns the phases of a pod's start in seconds; empty if the pod does not tell.
    """

    def __init__(
        self,
        history: PageHistory,
        pages: DispatcherPages,
        phases_of: Callable[[PodSample], Mapping[str, float]] = start_phases,
    ) -> None:
        self._history, self._pages, self._phases_of = history, pages, phases_of
        self._window = AnswerWindow()
        self._lock = threading.Lock()
        self._moment: Moment | None = None
        self._observed_s = float("-inf")
        self._decided: list[DecisionMark] = []
        self._newly_ready = NewlyReady()
        self._ready: list[tuple[PodSample, float]] = []
        self._shown: Moment | None = None  # in the last row
        self._arrivals_rps: float | None = None
        self._troubles = Troubles()

    def start(self) -> None:
        """Make a row each second in a thread that ends with the process."""
        threading.Thread(target=self._run, daemon=True, name=f"page-{self._history.service}").start()

    def observe(self, moment: Moment) -> None:
        """Take what the control loop knows; this neither waits nor fails."""
        with self._lock:
            last = self._moment.decision if self._moment else None
            if last is None or last.pods != moment.decision.pods:
                self._decided.append(DecisionMark(moment.unix_s, moment.decision.pods, moment.decision.reason))
            ready = self._newly_ready.update(moment.state.pods)  # a quick pod is never seen starting
            if self._moment:  # the others were ready before this controller
                self._ready += ready
            self._moment, self._observed_s = moment, time.monotonic()

    def collect(self, now_s: float, unix_s: float) -> None:
        """Add the row of this second; nothing before the first observation."""
        with self._lock:
            moment, observed_s = self._moment, self._observed_s
            decided, self._decided = self._decided, []
            ready, self._ready = self._ready, []
        if moment is None:
            return
        queues, answers = self._read(now_s)
        phases = [pod.phase for pod in moment.state.pods]
        age_s = max(now_s - observed_s, moment.signals_age_s)
        before, self._shown = self._shown, moment
        if before is None or moment.arrived_s != before.arrived_s:
            self._arrivals_rps = arrivals_rps(before, moment)
        row = (
            round(unix_s, 1),
            _rounded(self._arrivals_rps if age_s < RATE_HOLDS_S else None),
            _rounded(moment.decision.record.get("level_rps")),
            moment.decision.pods,
            *(phases.count(phase) for phase in (PodPhase.READY, PodPhase.STARTING, PodPhase.TERMINATING)),
            _rounded(moment.decision.record.get("stock_pods")),
            *(queues.waiting[name] for name in CLASSES),
            _rounded(queues.oldest_s),
            queues.expired,
            _rounded(queues.retry_after_s),
            *(_rounded(value) for value in answers.percentiles_s),
            *(round(value) for value in (answers.answers, answers.in_time, answers.lost)),
            _rounded(moment.pod_seconds - (before.pod_seconds if before else 0.0)),
            _rounded(min(MOST_AGE_S, age_s)),
        )
        if (ruler := self._history.ruler).name != moment.ruler or ruler.why != moment.why:
            since_s = ruler.since_s if ruler.name == moment.ruler else unix_s
            self._history.ruler = Ruler(moment.ruler, moment.why, since_s)
        self._history.add(row, decided, [self._start(*one, unix_s - now_s) for one in ready])

    def _read(self, now_s: float) -> tuple[Queues, AnswersOfSecond]:
        queues, answers = Queues(), NO_ANSWERS
        try:
            counts = {url: parse_counts(page.decode()) for url, page in self._pages.read("/metrics").items()}
            answers = self._window.update(counts)
            for page in self._pages.read("/queue").values():
                queues.add(json.loads(page))
            self._troubles.worked("dispatchers' pages", now_s)
        except (ScrapeError, ValueError, KeyError, TypeError) as error:
            self._troubles.failed("dispatchers' pages", now_s, error)
        return queues, answers

    def _start(self, pod: PodSample, ready_s: float, unix_offset_s: float) -> PodStart:
        """Return a pod's start by its own phases, and what remains until it was ready."""
        whole_s = ready_s - pod.started_s
        phases = self._phases_of(pod)
        around_s = max(0.0, whole_s - sum(phases.values()))
        phases = {"around the process": around_s, **phases} if phases else {"start": whole_s}
        phases = {name: round(took_s, 3) for name, took_s in phases.items()}
        return PodStart(round(ready_s + unix_offset_s, 1), pod.name, phases)

    def _run(self) -> None:
        while True:
            began_s = time.monotonic()
            try:
                self.collect(began_s, time.time())
            except Exception:  # the page must not end because one row could not be made
                log.exception("cannot make a row for the page")
            time.sleep(max(0.1, EVERY_S - (time.monotonic() - began_s)))


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    short = round(value, 3)
    return int(short) if short == int(short) else short

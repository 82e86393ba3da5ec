"""Reads the signals of one or several dispatchers, and announces capacity to them."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import urllib3

from autoscaler_tuning.live.dispatcher_names import DispatcherNames, addresses_of
from autoscaler_tuning.live.signals import ScrapeError, Signals, parse_signals
from autoscaler_tuning.live.sources import AnnouncedCapacity
from autoscaler_tuning.live.traffic_history import SECONDS_KEPT, TrafficHistory, merged

log = logging.getLogger(__name__)

# A dispatcher that did not answer is asked again after this time; while it is asked, the controller may wait for long.
SILENT_S = 10.0


@dataclass(slots=True)
class _Dispatcher:
    """One dispatcher.

    pool: its connections; None once it is gone. named_s: when a name stood for it last.
    silent_until_s: when it is asked again, after a failure.
    """

    url: str
    pool: urllib3.HTTPConnectionPool | None = None
    named_s: float = 0.0
    silent_until_s: float | None = None
    history: TrafficHistory = field(default_factory=TrafficHistory)


class Dispatchers:
    """One or several dispatchers, from which a controller reads signals and to which it announces capacity.

    One that does not answer is left out, and its share goes to the others, until it answers again.
    """

    def __init__(
        self,
        urls: Sequence[str],
        clock: Callable[[], float],
        key: str | None = None,
        timeout_s: float = 2.0,
        resolve: Callable[[str], list[str]] = addresses_of,
    ) -> None:
        """urls: dns+ names among them are resolved. clock: monotonic seconds. key: of --control-key-file."""
        # urllib3 alone, at half the CPU time of requests; like direct_session() it uses no proxy of the environment
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._settings = {"timeout": timeout_s, "retries": False, "headers": headers}
        self._clock = clock
        self._known: dict[str, _Dispatcher] = {}
        self._names = DispatcherNames(urls, resolve)
        self._names.keep_fresh()

    @property
    def _dispatchers(self) -> list[_Dispatcher]:
        """Return those that the names stand for now. Of the others only the counts are kept, after a while."""
        now_s = self._clock()
        current = [self._known.setdefault(url, _Dispatcher(url)) for url in self._names.current()]
        for one in current:
            one.named_s = now_s
            one.pool = one.pool or urllib3.connection_from_url(one.url, **self._settings)
        for one in self._known.values():
            if one.pool and now_s - one.named_s > SECONDS_KEPT:
                one.pool.close()
                one.pool = None
                one.history.keep_counts()
        return current

    def signals(self) -> Signals:
        """Return the merged signals of the dispatchers that answer.

        A single one is read on its own clock, so that a restart can be seen; several on the controller's, which goes on
        whichever of them dies. Raises ScrapeError if none answers.
        """
        current = self._dispatchers
        due = [one for one in current if len(current) == 1 or self._is_due(one)]
        answered, failed = self._each(due, self._read)
        if not answered:
            raise ScrapeError(f"cannot read signals: {'; '.join(failed) or 'no dispatcher answers'}")
        histories = [one.history for one in self._known.values()]
        if len(histories) == 1 and histories[0].signals and not self._names.can_change:
            return histories[0].signals
        return merged(histories, [one.history for one in answered], self._clock())

    def announce(self, capacity: AnnouncedCapacity, valid_s: float) -> None:
        """Announce to each dispatcher that answers its share of the capacity; the first ones get the remainder.

        While a pod is ready each share is at least 1: a dispatcher that is told 0 would never send its requests.
        Raises ScrapeError if any announcement fails, after all have been tried.
        """
        current = self._dispatchers
        due = [one for one in current if len(current) == 1 or one.silent_until_s is None]
        if not due:
            raise ScrapeError("cannot announce capacity: no dispatcher answers")
        ready_pods = capacity.ready_pods
        least = min(1, ready_pods)
        shares = {
            one.url: max(least, ready_pods // len(due) + (index < ready_pods % len(due)))
            for index, one in enumerate(due)
        }
        body: dict[str, object] = {"concurrency": capacity.concurrency, "valid_s": valid_s}
        if capacity.backends is not None:
            body["backends"] = list(capacity.backends)
        if capacity.problem is not None:
            body["problem"] = capacity.problem

        def put(one: _Dispatcher) -> None:
            told = {"ready_pods": shares[one.url], **body}
            self._ask(one, "PUT", "/capacity", told)

        _, failed = self._each(due, put)
        if failed:
            raise ScrapeError(f"cannot announce capacity: {'; '.join(failed)}")

    def read(self, path: str) -> dict[str, bytes]:
        """Return a page of each dispatcher that answers, by its address. Raises ScrapeError if none does."""
        found: dict[str, bytes] = {}

        def get(one: _Dispatcher) -> None:
            found[one.url] = self._ask(one, "GET", path)

        current = self._dispatchers
        _, failed = self._each([one for one in current if len(current) == 1 or self._is_due(one)], get)
        if not found:
            raise ScrapeError(f"cannot read {path}: {'; '.join(failed) or 'no dispatcher answers'}")
        return found

    def _read(self, one: _Dispatcher) -> None:
        one.history.update(parse_signals(json.loads(self._ask(one, "GET", "/signals"))), self._clock())

    def _ask(self, one: _Dispatcher, method: str, path: str, body: object = None) -> bytes:
        """Return the body of the answer. Raises ScrapeError if its status is not 200."""
        assert one.pool  # of each current one
        response = one.pool.request(method, f"{urlsplit(one.url).path}{path}", json=body)
        if response.status != 200:
            raise ScrapeError(f"{method} {one.url}{path}: HTTP status {response.status}")
        return response.data

    def _each(
        self, asked: Sequence[_Dispatcher], ask: Callable[[_Dispatcher], None]
    ) -> tuple[list[_Dispatcher], list[str]]:
        """Ask each of these dispatchers; return those that answered, and the errors of the others."""
        answered: list[_Dispatcher] = []
        failed: list[str] = []
        for one in asked:
            try:
                ask(one)
            except (urllib3.exceptions.HTTPError, ScrapeError, ValueError) as error:
                failed.append(str(error))
                self._fails(one, error)
            else:
                answered.append(one)
                if one.silent_until_s is not None:
                    one.silent_until_s = None
                    log.info("%s answers again", one.url)
        return answered, failed

    def _is_due(self, one: _Dispatcher) -> bool:
        """Return whether a dispatcher of several is asked for its signals now; the only one is always asked."""
        return one.silent_until_s is None or self._clock() >= one.silent_until_s

    def _fails(self, one: _Dispatcher, error: Exception) -> None:
        if one.silent_until_s is None:
            log.warning("%s does not answer and is left out until it does: %s", one.url, error)
        one.silent_until_s = self._clock() + SILENT_S

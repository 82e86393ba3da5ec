"""BarAzmoon's interface on top of the open-loop replay: subclasses written for BarAzmoon run unchanged.

    from loadgen.barazmoon import BarAzmoon

    class MyLoadTester(BarAzmoon):
        def get_request_data(self):
            return "some id", json.dumps({"KEY": "VALUE"})

        def process_response(self, sent_data_id, response):
            print(sent_data_id, response.get("KEY"))

    sent, succeeded = MyLoadTester(workload=[7, 12, 0, 31], endpoint="http://IP:PORT/PATH", http_method="post").start()

Source: github.com/reconfigurable-ml-pipeline/load_tester, its README; the code is ours.
"""

import asyncio
import json
import math
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, overload

from loadgen.analysis.summary import Summary, summarise
from loadgen.errors import InputError
from loadgen.records import Failure, Record, printable
from loadgen.sending.protocols import Body
from loadgen.sending.replay import Replay, SendPlan, Target, run_replay
from loadgen.sending.stop_signals import raising
from loadgen.workload.arrivals import arrival_times
from loadgen.workload.families import MOST_PER_SECOND, MOST_REQUESTS


class BarAzmoon:
    """Sends `workload[i]` requests in second i and passes each response to process_response.

    timeout: longest time to wait for a response, in seconds; 30 by default.
    mode, seed: how requests arrive within a second (see loadgen.workload.arrivals).
    slo_s, max_lag_ms: settings of the summary. Other arguments are kept in `kwargs`, as BarAzmoon does.
    Fractions add up: [0.5, 0.5, 0.5] is 2 requests, in the first and the third second.
    After start(), `replay` holds a record of each request and `summary` the figures.

    Subclasses for the older interface also run. They set endpoint, http_method and timeout in the class and define
    get_workload instead of passing the argument.
    """

    endpoint: str = ""
    http_method: str = "get"
    timeout: float | None = None
    replay: Replay
    summary: Summary

    def __init__(
        self,
        *,
        workload: Iterable[float] | None = None,
        endpoint: str | None = None,
        http_method: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Raise TypeError if a subclass overrides a method that is not a hook, InputError for an invalid workload."""
        if hasattr(type(self), "predict"):
            raise TypeError(f"{type(self).__name__}.predict would not be called: requests are sent by loadgen itself")
        self.endpoint = endpoint or self.endpoint
        self.http_method = http_method or self.http_method
        self.kwargs = kwargs
        given = list(self.get_workload() if workload is None else workload)
        rates = [float(rate) for rate in given]
        if not rates or not all(0 <= rate <= MOST_PER_SECOND for rate in rates):
            raise InputError(
                f"workload must be a list of non-negative numbers up to {MOST_PER_SECOND}, got {given[:5]}"
            )
        if sum(rates) > MOST_REQUESTS:
            raise InputError(f"workload must have at most {MOST_REQUESTS} requests, got {sum(rates):.12g}")
        totals = [0, *(math.floor(total + 0.5) for total in accumulate(rates))]
        self._counts = [after - before for before, after in pairwise(totals)]

    def get_workload(self) -> Iterable[float]:
        """Return the requests of each second; called if the constructor gets no workload."""
        raise InputError("workload is missing: pass it to the constructor or define get_workload")

    def get_request_data(self) -> tuple[Any, Any]:
        """Return an id, which process_response receives, and the body: str, bytes, a form, or None for no body."""
        return None, None

    def process_response(self, sent_data_id: Any, response: Any) -> object:
        """Handle the JSON of a response with any status; return False to mark the request as failed."""

    def start(self) -> tuple[int, int]:
        """Send all requests; return how many were sent and how many succeeded.

        In the main thread, Ctrl-C and SIGTERM end the run and raise KeyboardInterrupt; `replay` and `summary` then hold
        the results so far.
        A request succeeds if a JSON response with a status from 200 to 299 arrives before the timeout and
        process_response neither raises nor returns False. Works in any thread, and also where an event loop is running,
        as in a notebook.
        """
        stopped = threading.Event()
        if not _in_event_loop():
            return self._start(stopped)
        with ThreadPoolExecutor(max_workers=1) as pool, raising():
            try:
                return pool.submit(self._start, stopped).result()
            finally:
                stopped.set()  # signals arrive in this thread, and leaving the block waits for the other one

    def _start(self, stopped: threading.Event) -> tuple[int, int]:
        timeout_s = float(self.kwargs.get("timeout") or self.timeout or 30.0)
        target = Target(self.endpoint, timeout_s=timeout_s, method=self.http_method.upper())
        mode, seed = self.kwargs.get("mode", "count"), int(self.kwargs.get("seed", 0))
        times_s = arrival_times(self._counts, mode, seed)
        plan = SendPlan(times_s, _HookBodies(self), read=self._read)
        self.replay = run_replay(target, plan, enough=stopped.is_set)
        slo_s, max_lag_ms = self.kwargs.get("slo_s", 0.5), self.kwargs.get("max_lag_ms", 5.0)
        self.summary = summarise(self.replay.records, slo_s, max_lag_ms)
        if self.replay.interrupted:
            raise KeyboardInterrupt
        return self.summary.sent, self.summary.good

    def _read(self, body: Body, content: bytes, record: Record) -> None:
        """Pass a response to the hook; what the hook returns or raises decides the outcome."""
        assert isinstance(body, _Data)
        try:
            response = json.loads(content)
        except (ValueError, RecursionError) as error:
            record.failure, record.error = Failure.PROTOCOL, f"status {record.status}, invalid JSON: {error}"
            return
        try:
            accepted = self.process_response(body.data_id, response)
        except Exception as error:  # noqa: BLE001  an exception in a user's hook fails this request, not the run
            reason = printable(f"process_response: {type(error).__name__}: {error}")
            record.failure, record.error = Failure.REFUSED, reason
        else:
            if not 200 <= record.status < 300:
                record.failure, record.error = Failure.STATUS, f"status {record.status}"
            elif accepted is False:
                record.failure, record.error = Failure.REFUSED, "process_response returned False"


@dataclass(frozen=True, slots=True)
class _Data(Body):
    """A body from get_request_data, with the id that the hook returned."""

    data_id: Any = None


class _HookBodies(Sequence[Body]):
    """Calls the hook once for each request, when it is due; the time that the hook takes counts as send lag."""

    def __init__(self, tester: BarAzmoon) -> None:
        self._tester = tester

    def __len__(self) -> int:
        return sum(self._tester._counts)

    @overload
    def __getitem__(self, index: int) -> Body: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Body]: ...
    def __getitem__(self, index: int | slice) -> Body | Sequence[Body]:
        data_id, data = self._tester.get_request_data()
        return _Data(str(data_id), data, data_id=data_id)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

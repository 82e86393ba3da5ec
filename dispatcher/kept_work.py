"""Puts journal, runner, HTTP interface and sink of asynchronous work together."""

import logging

from prometheus_client import CollectorRegistry, Gauge

from dispatcher.config import Config, ConfigError
from dispatcher.job_runner import Handle, JobRunner
from dispatcher.jobs import Jobs
from dispatcher.journal.base import Journal, JournalError, JournalLimits
from dispatcher.journal.opening import make_journal
from dispatcher.metrics import JobMetrics, export_values
from dispatcher.sink import ResultSink, SinkError, parse_secret

log = logging.getLogger(__name__)

# Long enough for a request that a pod has; one that waits for a pod runs after the restart.
GRACE_S = 5.0


class KeptWork:
    """Asynchronous work of one dispatcher; without a journal it does nothing.

    jobs: answers HTTP requests; None without a journal. handle: see JobRunner.
    """

    def __init__(self, config: Config, handle: Handle, registry: CollectorRegistry) -> None:
        """Raise ConfigError if a setting names no journal, or no key of a sink."""
        self._journal = _journal(config)
        self._grace_s = min(GRACE_S, config.drain_timeout_s / 2)
        metrics = JobMetrics(registry) if self._journal else None
        self._runner = (
            JobRunner(self._journal, handle, config.job_attempts, ended=metrics.ended)
            if self._journal and metrics
            else None
        )
        self._sink = _sink(config, self._journal, metrics)
        if self._runner:
            _export(self._runner, registry, config.journal_bytes)
        self.jobs = Jobs(self._journal, self._runner) if self._journal and self._runner else None

    async def start(self) -> None:
        """Open the journal and run what it holds. Raise ConfigError if it cannot be used as configured."""
        if self._journal is None or self._runner is None:
            return
        try:
            await self._runner.open()
        except JournalError as error:
            raise ConfigError(str(error)) from error
        self._runner.start()
        if self._sink:
            self._sink.start()
        log.info("asynchronous work is kept in %s", self._journal.name)

    def pending(self) -> int:
        """Return how many jobs wait in the journal for this dispatcher."""
        return self._runner.pending if self._runner else 0

    async def stop_running(self) -> None:
        """Run no more jobs; clients can still ask for results."""
        if self._runner:
            await self._runner.stop(self._grace_s)

    async def close(self) -> None:
        """Close the journal."""
        if self._runner:
            await self._runner.stop(0)
        if self._sink:
            await self._sink.stop()
        if self._journal:
            await self._journal.close()


def _journal(config: Config) -> Journal | None:
    limits = JournalLimits(config.journal_bytes, config.result_ttl_s, config.result_sink is not None)
    try:
        return make_journal(config.journal, limits)
    except JournalError as error:
        raise ConfigError(str(error)) from error


def _export(runner: JobRunner, registry: CollectorRegistry, most_bytes: int) -> None:
    """Export what the journal holds; with Redis these are the jobs of all dispatchers."""
    jobs = Gauge("dispatcher_jobs", "Unfinished asynchronous jobs by state", ["state"], registry=registry)
    jobs.labels("ready").set_function(lambda: runner.backlog.ready)
    jobs.labels("delayed").set_function(lambda: runner.backlog.delayed)
    jobs.labels("running").set_function(lambda: runner.backlog.running)
    export_values(
        registry,
        {
            "dispatcher_journal_bytes": (
                "Size of the requests and results in the journal",
                lambda: runner.backlog.size_bytes,
            ),
            "dispatcher_journal_limit_bytes": ("Largest value of dispatcher_journal_bytes", lambda: most_bytes),
            "dispatcher_journal_available": (
                "Whether the journal can be used (1) or not (0)",
                lambda: runner.opened and not runner.problem,
            ),
        },
    )


def _sink(config: Config, journal: Journal | None, metrics: JobMetrics | None) -> ResultSink | None:
    if journal is None or metrics is None or config.result_sink is None or config.result_sink_key_file is None:
        return None
    try:
        key = parse_secret(config.result_sink_key_file.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError, SinkError) as error:
        text = f"--result-sink-key-file must be a file with a key, got {config.result_sink_key_file}: {error}"
        raise ConfigError(text) from error
    return ResultSink(journal, config.result_sink, key, pushed=metrics.pushed)

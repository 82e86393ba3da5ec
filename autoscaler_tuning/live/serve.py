"""The controller as a process: builds it from its configuration and runs it until a signal stops it."""

import logging
import signal
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from autoscaler_tuning.live.cluster_targets import cluster_target
from autoscaler_tuning.live.controller import Controller, ControllerConfig, NamedPolicy
from autoscaler_tuning.live.dispatchers import Dispatchers
from autoscaler_tuning.live.knative_target import KnativeTarget
from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.collector import Collector
from autoscaler_tuning.live.page.history import PageHistory
from autoscaler_tuning.live.page.serving import Page
from autoscaler_tuning.live.queue_proxies import QueueProxies, WithRouteTraffic
from autoscaler_tuning.live.recording import ControllerMetrics, Recorder
from autoscaler_tuning.live.service_metrics import ServiceMetrics
from autoscaler_tuning.live.slots import Slots
from autoscaler_tuning.live.sources import ReadOnlySource, SignalSource
from autoscaler_tuning.live.state_file import with_state_file
from autoscaler_tuning.live.status_server import StatusServer
from autoscaler_tuning.live.targets import ReadOnlyTarget, ScaleTarget
from autoscaler_tuning.live.wish import Wish
from autoscaler_tuning.policies.base import Bounded, Policy
from autoscaler_tuning.policies.registry import PolicySpec
from autoscaler_tuning.policies.shadow import Shadow, ShadowConfig

POLL_EVERY_S = 0.05

log = logging.getLogger(__name__)


class KeyFileError(Exception):
    """A file with a key or a certificate cannot be used."""


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """A port, and the files of its certificate and key."""

    port: int
    cert_file: Path
    key_file: Path

    def context(self) -> ssl.SSLContext:
        """Return the settings of the port. Raises KeyFileError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # of ssl too
            raise KeyFileError(
                "--tls-cert-file and --tls-key-file must be a certificate and its key in PEM, "
                f"got {self.cert_file} and {self.key_file}: {error}"
            ) from error
        return context


@dataclass(frozen=True, slots=True)
class ServedService:
    """A Service to scale, and the addresses of the dispatchers in front of it."""

    name: str
    dispatchers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """Settings of `autoscaler_tuning control`; the policy, its bounds and its settings are those of each Service.

    for_s: how long to run, in seconds; None means until a signal arrives.
    shadow: change nothing and only export what the policy would have done with its own pods.
    dry_run: change nothing and only log and export what the policy decides about the pods that there are.
    no_patch: change nothing in the cluster, where another autoscaler follows the exported wish; the dispatchers are
        told the capacity.
    tls: certificate, key and port with which to serve the status over TLS too, as the API server needs it.
    watch: address of the controller that scales the pods in shadow mode, if the target is local.
    state: file with what the policy has learned, read at the start and written every ten seconds.
    """

    target: str
    policy: PolicySpec
    services: tuple[ServedService, ...]
    dispatcher_key_file: Path | None
    host: str
    port: int
    max_pods: int
    record: Path | None
    for_s: float | None
    pad_service_s: float
    model_dir: Path
    log_dir: Path
    namespace: str
    slo_s: float = 0.5
    shadow: bool = False
    dry_run: bool = False
    no_patch: bool = False
    tls: TlsConfig | None = None
    watch: str = "http://127.0.0.1:8002"
    state: Path | None = None
    page_key_file: Path | None = None

    @property
    def observes(self) -> bool:
        """Return whether the controller changes nothing."""
        return self.shadow or self.dry_run

    @property
    def writes_nothing(self) -> bool:
        """Return whether another autoscaler scales the pods."""
        return self.observes or self.no_patch


def read_key(path: Path | None, flag: str) -> str | None:
    """Return the key in a file that a flag names, None without a file. Raises KeyFileError."""
    if path is None:
        return None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{flag} must be a readable file, got {path}: {error}") from error
    if not key:
        raise KeyFileError(f"{flag} must contain a key, got nothing in {path}")
    return key


@dataclass(frozen=True, slots=True)
class ServiceLoop:
    """The control loop of one Service, which runs in a thread of its own: a slow or failing one stops no other."""

    service: ServedService
    controller: Controller
    target: ScaleTarget
    history: PageHistory

    def run(self, running: Callable[[], bool]) -> None:
        """Step until running() is false; then stop the pods on this machine, or give a Service its own bounds back."""
        try:
            while running():
                self.controller.step(time.monotonic(), time.time())
                time.sleep(POLL_EVERY_S)
        finally:
            self.target.close()


def serve(config: ServeConfig) -> None:
    """Run the control loops until SIGTERM or SIGINT.

    Raises AddressError if a port is in use, KeyFileError if the key cannot be read, RecordError if the record cannot be
    written, ClusterError if no cluster is configured.
    """
    key = read_key(config.dispatcher_key_file, "--dispatcher-key-file")
    page_key = read_key(config.page_key_file, "--page-key-file")
    metrics = ServiceMetrics()
    status = StatusServer(metrics.registry)
    context = config.tls.context() if config.tls else None
    status.start(config.host, config.port)
    if config.tls:
        status.start(config.host, config.tls.port, context)
    stopping: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        stopping.append(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    loops = [service_loop(config, service, key, metrics) for service in config.services]
    status.readiness = lambda: {loop.service.name: loop.controller.ready for loop in loops}
    status.wish = lambda: wish_of(config.namespace, loops)
    status.page = Page({loop.service.name: loop.history for loop in loops}, page_key).respond
    end_s = float("inf") if config.for_s is None else time.monotonic() + config.for_s
    running = lambda: not stopping and time.monotonic() < end_s  # noqa: E731
    threads = [threading.Thread(target=loop.run, args=(running,), name=loop.service.name) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wish_of(namespace: str, loops: Sequence[ServiceLoop]) -> Wish:
    """Return the pods that the policies of all Services want at the moment."""
    now_s = time.monotonic()
    return Wish(namespace, {loop.service.name: loop.controller.wish(now_s) for loop in loops}, time.time())


def service_loop(config: ServeConfig, service: ServedService, key: str | None, metrics: ServiceMetrics) -> ServiceLoop:
    """Return the loop of one Service. Raises RecordError, ClusterError."""
    target = make_target(config, service.name)
    registry = metrics.of("" if config.target == "local" else service.name)
    source: SignalSource = Dispatchers(service.dispatchers, time.monotonic, key)
    if isinstance(target, KnativeTarget):
        proxies = QueueProxies(target.queue_proxies)
        proxies.start()
        source = WithRouteTraffic(source, proxies, registry)
    controller = Controller(
        NamedPolicy(config.policy.name, lambda: with_state_file(live_policy(config), config.state, time.time)),
        ReadOnlySource(source) if config.observes else source,
        ReadOnlyTarget(target) if config.writes_nothing else target,
        ControllerConfig(),
        ControllerMetrics(registry),
        Recorder(config.record),
    )
    controller.operator = Operator(config.max_pods)
    history = PageHistory(service.name, config.policy.name, config.slo_s, controller.operator)
    collector = Collector(history, Dispatchers(service.dispatchers, time.monotonic, key))
    controller.observe = collector.observe
    collector.start()
    verb = "observes" if config.writes_nothing else "scales"
    log.info("%s %s %s pods for %s", config.policy.name, verb, config.target, ", ".join(service.dispatchers))
    return ServiceLoop(service, controller, target, history)


def live_policy(config: ServeConfig) -> Policy:
    """Return the policy within its bounds, inside a shadow service in shadow mode.

    Without Knative, that is on this machine and in a shadow service, KPA includes Knative's scale to zero.
    """
    spec = config.policy
    shadows_knative = config.shadow and config.target == "knative"
    without_knative = config.target == "local" and not spec.entry.decides_zero
    policy = spec.on_knative() if shadows_knative or without_knative else spec.make()
    most = min(config.max_pods, spec.revision.max_pods or config.max_pods)
    bounded = Bounded(Slots(policy), min(most, spec.revision.min_pods), most)
    return Shadow(bounded, ShadowConfig(config.slo_s, spec.order)) if config.shadow else bounded


def make_target(config: ServeConfig, service: str) -> ScaleTarget:
    """Return the target: the pods on this machine or in a cluster."""
    if config.target != "local":
        return cluster_target(config.target, config.namespace, service, not config.writes_nothing)
    # what these import would take 10 MB of a controller in a cluster
    if config.writes_nothing:
        from autoscaler_tuning.live.watch import WatchedController  # noqa: PLC0415

        return WatchedController(config.watch, time.monotonic)
    from autoscaler_tuning.live.local_pods import function_pods  # noqa: PLC0415

    return function_pods(config.max_pods, config.log_dir, config.model_dir, config.pad_service_s)

"""The module that gunicorn loads: `gunicorn -c function/gunicorn.conf.py function.wsgi:app`.

It is the only module that reads the settings from the environment and loads the weights when imported. Imports inside
functions keep the cold start short (see function/loading.py).
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from typing import TYPE_CHECKING

from function.config import Config, ConfigError, HttpConfig
from function.loading import load_classifier
from function.manifest import ModelError
from function.memory import return_large_blocks
from function.plan import ModelPlan, plan_model
from function.startup import ColdStart, cold_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from prometheus_client import CollectorRegistry

    from function.classifier import ImageClassifier
    from function.observer import Served

# gunicorn exits when a worker exits with this code; after any other code it would restart the worker forever.
WORKER_BOOT_ERROR = 3

log = logging.getLogger("gunicorn.error")


def build(start: ColdStart) -> Flask:
    """Load the classifier, build the app around it and log how long the start took."""
    return_large_blocks()
    config, http = Config.from_env(os.environ), HttpConfig.from_env(os.environ)
    plan = plan_model(config.model_dir, config.engine, config.precision)
    classifier = load_classifier(start, config, plan)
    app = build_app(start, classifier, http)
    log.info("resnet18 %s on %s", _described(plan.manifest.weights, plan.manifest.version, config), _engine(plan))
    log.info(start.line())
    return app


def build_app(start: ColdStart, classifier: ImageClassifier, http: HttpConfig) -> Flask:
    """Build the app, with the phases of the cold start among its metrics."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from function.app import create_app  # noqa: PLC0415
    from function.metrics import PodMetrics  # noqa: PLC0415

    registry = CollectorRegistry()
    metrics = PodMetrics(registry, classifier.model)
    app = create_app(classifier, metrics, registry, http, _served(http, registry))
    start.ready()
    for phase, seconds in start.phases_s.items():
        metrics.cold_start.labels(phase).set(seconds)
    return app


def _served(http: HttpConfig, registry: CollectorRegistry) -> Callable[[Served], None] | None:
    """Return what tells about each request; None, without any import, unless log or traces are wanted."""
    if not http.log_requests and not any(name.startswith("OTEL_") for name in os.environ):
        return None
    from prometheus_client import Counter  # noqa: PLC0415

    from function.line_log import LineLog  # noqa: PLC0415
    from function.observer import Reporter, Spans  # noqa: PLC0415
    from function.otlp import export_wanted  # noqa: PLC0415

    spans = Spans(os.environ, http.pod_name) if export_wanted(os.environ) else None
    lines = None
    if http.log_requests:
        text = "Lines of the request log that could not be written"
        lines = LineLog(Counter("function_log_lines_dropped", text, registry=registry).inc)
    reporter = Reporter(http.pod_name, lines, spans)
    atexit.register(reporter.close)
    return reporter.served if lines or spans else None


def _described(weights: str, version: str, config: Config) -> str:
    pad = f", every image padded to {config.pad_service_s:g} s" if config.pad_service_s else ""
    return f"{version} ({weights}{pad})"


def _engine(plan: ModelPlan) -> str:
    parts = [str(plan.choice.variant)]
    if plan.prepared:
        parts.append("prepared for this CPU")
    if plan.choice.agreement:
        parts.append(str(plan.choice.agreement))
    parts += [f"refused {reason}" for reason in plan.choice.refused]
    return "; ".join(parts)


try:
    app = build(cold_start())
except (ConfigError, ModelError) as error:
    log.critical("%s", error)
    sys.exit(WORKER_BOOT_ERROR)

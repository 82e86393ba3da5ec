"""What gunicorn loads: `gunicorn -c function/gunicorn.conf.py function.wsgi:app`.

The only place that reads the environment and loads the weights.
"""

import logging
import os
import sys

from flask import Flask
from prometheus_client import CollectorRegistry

from function.app import create_app
from function.classifier import ModelError, load_classifier
from function.config import Config, ConfigError, HttpConfig
from function.memory import return_large_blocks
from function.metrics import Metrics
from function.startup import ColdStart

# gunicorn stops for good when a worker ends with this code; with any other it would start it again and again.
WORKER_BOOT_ERROR = 3

log = logging.getLogger("gunicorn.error")


def build() -> Flask:
    """Load the model, warm it up, and build the app around it."""
    return_large_blocks()
    cold_start = ColdStart()
    config, http = Config.from_env(os.environ), HttpConfig.from_env(os.environ)
    classifier = load_classifier(
        config.model_dir, config.engine, config.engine_threads, config.max_pixels, config.pad_service_s
    )
    cold_start.mark("model")
    registry = CollectorRegistry()
    metrics = Metrics(registry, classifier.model)
    app = create_app(classifier, metrics, registry, http)
    cold_start.mark("app")
    for phase, seconds in cold_start.phases_s.items():
        metrics.cold_start.labels(phase).set(seconds)
    log.info("%s %s (%s) on %s", *_described(classifier.model.weights, classifier.model.version, config))
    log.info(cold_start.line())
    return app


def _described(weights: str, version: str, config: Config) -> tuple[str, str, str, str]:
    pad = f", every request held {config.pad_service_s:g} s" if config.pad_service_s else ""
    return "resnet18", version, weights + pad, config.engine


try:
    app = build()
except (ConfigError, ModelError) as error:
    log.critical("%s", error)
    sys.exit(WORKER_BOOT_ERROR)

"""What gunicorn loads: `gunicorn -c function/gunicorn.conf.py function.wsgi:app`.

The only place that reads the environment and loads the weights. Imports stand where a cold start wants them: while the
interpreter is busy with numpy's, the engine's library is relocated and the weights are hashed, which needs no
interpreter; then the engine loads and warms up, which needs little of it, beside Flask's.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from function.config import Config, ConfigError, HttpConfig
from function.manifest import ModelError
from function.memory import return_large_blocks
from function.plan import ModelPlan, plan_model
from function.startup import Background, ColdStart, cold_start, load_native

if TYPE_CHECKING:
    from flask import Flask

    from function.classifier import ImageClassifier
    from function.engines import Engine

# gunicorn stops for good when a worker ends with this code; with any other it would start it again and again.
WORKER_BOOT_ERROR = 3

log = logging.getLogger("gunicorn.error")


def build(start: ColdStart) -> Flask:
    """Bring the engine up beside the imports, and build the app around it."""
    return_large_blocks()
    config, http = Config.from_env(os.environ), HttpConfig.from_env(os.environ)
    plan = plan_model(config.model_dir, config.engine, config.precision)
    background = Background()
    try:
        classifier = load(start, background, config, plan)
    finally:
        background.close()
    app = serve(start, classifier, http)
    log.info("resnet18 %s on %s", _described(plan.manifest.weights, plan.manifest.version, config), _engine(plan))
    log.info(start.line())
    return app


def load(start: ColdStart, background: Background, config: Config, plan: ModelPlan) -> ImageClassifier:
    """The classifier, warm; every module that the first answer needs is imported when it returns."""

    def verify() -> None:
        with start.phase("engine"):
            load_native(plan.choice.variant.engine)
        with start.phase("weights"):
            plan.verify()

    verified = background.start(verify)
    with start.phase("imports"):
        from function import classifier  # noqa: PLC0415

    def warm_up() -> Engine:
        with start.phase("engine"):
            classifier.import_engine(plan)
        with start.phase("weights"):
            engine = classifier.load_planned(plan, config.engine_threads)
        with start.phase("warmup"):
            logits = engine.infer(classifier.probe())
        classifier.check_probe(logits, plan.choice.variant, plan.manifest)
        return engine

    warmed = background.start(warm_up)
    with start.phase("imports"):
        import function.app  # noqa: F401, PLC0415
    verified.result()
    return classifier.classifier_of(plan, warmed.result(), config.max_pixels, config.pad_service_s)


def serve(start: ColdStart, classifier: ImageClassifier, http: HttpConfig) -> Flask:
    """The app, with the phases of its start among its metrics."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from function.app import create_app  # noqa: PLC0415
    from function.metrics import PodMetrics  # noqa: PLC0415

    registry = CollectorRegistry()
    metrics = PodMetrics(registry, classifier.model)
    app = create_app(classifier, metrics, registry, http)
    start.ready()
    for phase, seconds in start.phases_s.items():
        metrics.cold_start.labels(phase).set(seconds)
    return app


def _described(weights: str, version: str, config: Config) -> str:
    pad = f", every request held {config.pad_service_s:g} s" if config.pad_service_s else ""
    return f"{version} ({weights}{pad})"


def _engine(plan: ModelPlan) -> str:
    told = [str(plan.choice.variant)]
    if plan.prepared:
        told.append("prepared for this CPU")
    if plan.choice.agreement:
        told.append(str(plan.choice.agreement))
    told += [f"refused {reason}" for reason in plan.choice.refused]
    return "; ".join(told)


try:
    app = build(cold_start())
except (ConfigError, ModelError) as error:
    log.critical("%s", error)
    sys.exit(WORKER_BOOT_ERROR)

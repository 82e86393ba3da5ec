"""Loading of the classifier in parallel with the imports of a cold start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from function.startup import Background, ColdStart, load_native

if TYPE_CHECKING:
    from function.classifier import ImageClassifier
    from function.config import Config
    from function.engines import Engine
    from function.plan import ModelPlan


def load_classifier(start: ColdStart, config: Config, plan: ModelPlan) -> ImageClassifier:
    """Return the warm classifier, with all modules imported that the first response needs.

    Imports are placed for a fast cold start. While the main thread imports numpy, the background thread relocates the
    engine's library and hashes the weights without holding the interpreter lock. Then it loads and warms up the engine,
    which rarely holds the lock, while the main thread imports Flask.
    Raise ModelError if a file is missing or differs from the manifest, or if the engine fails the warm-up check.
    """
    background = Background()

    def verify() -> None:
        with start.phase("engine"):
            load_native(plan.choice.variant.engine)
        with start.phase("weights"):
            plan.verify()

    def warm_up() -> Engine:
        with start.phase("engine"):
            classifier.import_engine(plan)
        with start.phase("weights"):
            engine = classifier.load_planned(plan, config.engine_threads)
        with start.phase("warmup"):
            logits = engine.infer(classifier.probe())
        classifier.check_probe(logits, plan.choice.variant, plan.manifest)
        return engine

    try:
        verified = background.start(verify)
        with start.phase("imports"):
            from function import classifier  # noqa: PLC0415
        warmed = background.start(warm_up)
        with start.phase("imports"):
            import function.app  # noqa: F401, PLC0415
        verified.result()
        return classifier.classifier_of(plan, warmed.result(), config.max_pixels, config.pad_service_s)
    finally:
        background.close()

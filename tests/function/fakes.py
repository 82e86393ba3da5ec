"""A fake classifier without a model, and the app around it."""

from typing import Any

from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from function.app import create_app
from function.config import HttpConfig
from function.images import ImageError
from function.metrics import PodMetrics
from function.types import Classification, ModelInfo, Ranked, Timing

LABELS: dict[str, Any] = {
    "prediction": "golden retriever: 89.2%",
    "label": "golden retriever",
    "confidence": 0.8917,
    "top": [{"label": "golden retriever", "confidence": 0.8917}, {"label": "cat", "confidence": 0.1}],
}
MODEL = {
    "name": "resnet18",
    "version": "random-seed-0",
    "weights": "RANDOM WEIGHTS",
    "engine": "fake",
    "precision": "float32",
}


class Fake:
    """A classifier that labels every image but `bad` a golden retriever and records what it received."""

    model = ModelInfo(**MODEL)

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def classify(self, body: bytes) -> Classification:
        if body in (b"bad", b""):
            raise ImageError(f"not an image: {len(body)} bytes")
        self.seen.append(body)
        top = (Ranked("golden retriever", 0.8917), Ranked("cat", 0.1))
        return Classification(top, Timing(0.0021, 0.0118, 0.0002), 640 * 480)


def client_of(fake: Fake, **settings: Any) -> FlaskClient:
    """Return a client of an app with these fields of HttpConfig."""
    registry = CollectorRegistry()
    http = HttpConfig(**{"max_body_bytes": 1000, "max_images": 3, "pod_name": "pod-7", **settings})
    return create_app(fake, PodMetrics(registry, fake.model), registry, http).test_client()

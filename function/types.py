"""What a classification consists of: the values that the classifier returns and the protocols render."""

from dataclasses import dataclass

# Labels in a response, likeliest first.
TOP = 5


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The fields of the model that responses report."""

    name: str
    version: str
    weights: str
    engine: str
    precision: str = "float32"


@dataclass(frozen=True, slots=True)
class Ranked:
    """One label with its confidence, 0 to 1."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one classification, without waiting: decoding and resizing, inference (with padding), ranking."""

    pre_s: float
    infer_s: float
    post_s: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels of an image, likeliest first, the time that each stage took, and the image's width times height."""

    top: tuple[Ranked, ...]
    timing: Timing
    pixels: int

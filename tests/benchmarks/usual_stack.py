"""The baseline for the function: a typical service, FastAPI with torch and torchvision.

`MODEL_FILE=resnet18.pth LABELS_FILE=labels.json python -m uvicorn tests.benchmarks.usual_stack:app`. Nothing in it is
slow on purpose. It has one torch thread, because more of them are slower on one CPU.
"""

import io
import json
import os
from pathlib import Path
from typing import Annotated

import torch
from fastapi import FastAPI, UploadFile
from PIL import Image
from torchvision.models import ResNet18_Weights, resnet18

torch.set_num_threads(1)
network = resnet18(weights=None)
network.load_state_dict(torch.load(os.environ["MODEL_FILE"], weights_only=True))
network.eval()
transform = ResNet18_Weights.IMAGENET1K_V1.transforms()
labels: list[str] = json.loads(Path(os.environ["LABELS_FILE"]).read_text())
app = FastAPI()


@app.get("/")
def health() -> dict[str, str]:
    """Report readiness, as soon as the server listens."""
    return {"status": "ok"}


@app.post("/predict")
def predict(file: Annotated[UploadFile, "an image"]) -> dict[str, str]:
    """Classify an image; return only the prediction text."""
    image = Image.open(io.BytesIO(file.file.read())).convert("RGB")
    with torch.inference_mode():
        confidences = network(transform(image).unsqueeze(0))[0].softmax(0)
    confidence, index = confidences.max(0)
    return {"prediction": f"{labels[int(index)]}: {100 * float(confidence):.1f}%"}

"""`python -m function.tools.export`: write ResNet18's weights as files for the engines, with labels and hashes."""

if __name__ == "__main__":  # before the imports, which take seconds, so that an interrupt during them is handled too
    from function.tools import console

    raise SystemExit(console.run("function.tools.export"))

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov
import torch
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18

from function.classifier import probe
from function.images import ImageError
from function.manifest import LABELS, MANIFEST, Manifest, ModelError, read_manifest, sha256, write_manifest
from function.tools.agreement import NoPhotographsError, measured_agreement, photographs, torch_logits
from function.tools.prepare import prepare
from function.tools.quantise import quantise
from function.variants import INT8, OPENVINO_FLOAT32, ORT_FLOAT32, ORT_INT8, TORCH_FLOAT32

PROBE_LOGITS = 20
DOWNLOAD_TIMEOUT_S = 20.0
NOT_DOWNLOADED = 3  # exit status; `make` uses random weights then, and only then
# Of resnet18-f37072fd.pth. torchvision publishes the first eight digits, in the file's name; the others are those that
# independent projects record for its download (46,830,571 bytes).
IMAGENET_SHA256 = "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"
# Standard deviation of the logits of random weights, which gives top confidences of about 5 to 50 %.
LOGIT_SPREAD = 3.5


class ExportError(Exception):
    """The weights cannot be read or do not verify; the text states why."""


class DownloadError(ExportError):
    """The weights cannot be downloaded."""


@dataclass(frozen=True, slots=True)
class Source:
    """The version of the weights and their description in the model's metadata."""

    version: str
    about: str


def imagenet() -> tuple[nn.Module, Source]:
    """Return torchvision's IMAGENET1K_V1 from torch's cache, into which it is downloaded if need be, once verified."""
    url = ResNet18_Weights.IMAGENET1K_V1.url
    file = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    if not file.exists():
        download(url, file)
    if (found := sha256(file)) != IMAGENET_SHA256:
        raise ExportError(
            f"{file} must have SHA-256 {IMAGENET_SHA256[:12]}..., got {found[:12]}...: remove it to download it again"
        )
    network, _ = from_file(file)
    return network, Source("imagenet1k-v1", "ImageNet, torchvision IMAGENET1K_V1")


def download(url: str, file: Path) -> None:
    """Download the weights, and keep them only if they are complete."""
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(file), IMAGENET_SHA256, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the hash
        raise DownloadError(f"cannot download {url}: {error}") from error


def from_file(path: Path) -> tuple[nn.Module, Source]:
    """Read a state_dict of torchvision's resnet18 with 1000 classes, as torch.save writes it."""
    network = resnet18(weights=None)
    try:
        network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # torch raises a dozen types for a malformed file
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExportError(f"{path} must contain weights of resnet18: {first_line}") from error
    return network, Source(f"file-{sha256(path)[:8]}", f"file {path.name}")


def random_weights(seed: int, count: int = 64) -> tuple[nn.Module, Source]:
    """Return untrained weights that give different images different classes.

    BatchNorm takes its statistics from a pass over synthetic images in training mode; the last layer is centred on
    their mean features and scaled. With torch's default initialisation one class would be the top class of every image.
    count: number of synthetic images.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = resnet18(weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain mean over the batches
    images = synthetic_images(seed, count)
    head, network.fc = network.fc, nn.Identity()
    with torch.no_grad():
        network.train()
        network(images)
        network.eval()
        features = network(images)
        centred = features - features.mean(0)
        head.weight.mul_(LOGIT_SPREAD / (centred @ head.weight.T).std())
        head.bias.copy_(-head.weight @ features.mean(0))
    network.fc = head
    return network, Source(f"random-seed-{seed}", "RANDOM WEIGHTS, NOT TRAINED: LABELS MEAN NOTHING")


def synthetic_images(seed: int, count: int) -> torch.Tensor:
    """Return normalised noise of shape (count, 3, 224, 224) whose power falls with frequency as in photographs."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.rfftfreq(224)[None, :])
    frequency[0, 0] = np.inf
    slopes = rng.uniform(0.6, 1.6, (count, 1, 1, 1))
    spectrum = np.fft.rfft2(rng.normal(size=(count, 3, 224, 224))) / frequency**slopes
    images = np.fft.irfft2(spectrum, s=(224, 224))
    images /= images.std(axis=(1, 2, 3), keepdims=True)
    images += rng.normal(scale=0.6, size=(count, 3, 1, 1))
    return torch.from_numpy(images.astype(np.float32))


def write_files(network: nn.Module, source: Source, out: Path) -> Manifest:
    """Write the float32 files of every engine, the labels and the manifest into the folder out."""
    out.mkdir(parents=True, exist_ok=True)
    network.eval()
    torch.save(network.state_dict(), out / TORCH_FLOAT32.files[0])
    onnx_file = out / ORT_FLOAT32.files[0]
    example = torch.zeros(1, 3, 224, 224)
    torch.onnx.export(network, (example,), onnx_file, dynamo=True, external_data=True, verbose=False)
    ov.save_model(ov.convert_model(onnx_file), out / OPENVINO_FLOAT32.files[0], compress_to_fp16=False)
    (out / LABELS).write_text(json.dumps(ResNet18_Weights.IMAGENET1K_V1.meta["categories"]))
    (out / INT8).unlink(missing_ok=True)  # it belongs to the previous weights
    with torch.inference_mode():
        probe_logits = network(torch.from_numpy(probe()))[0, :PROBE_LOGITS].tolist()
    manifest = Manifest("resnet18", source.version, source.about, {}, tuple(probe_logits))
    files = (LABELS, *ORT_FLOAT32.files, *OPENVINO_FLOAT32.files, *TORCH_FLOAT32.files)
    manifest = prepare(out, manifest.with_files(out, *files))
    write_manifest(manifest, out)
    return manifest


def write_int8(manifest: Manifest, folder: Path, out: Path) -> Manifest:
    """Calibrate int8 on every second image of the folder, and measure its agreement on the others.

    The new file replaces an earlier one only after the measurement, and agreements of the earlier one are dropped.
    Raise NoPhotographsError if there are fewer than two images, ImageError if one cannot be decoded.
    """
    calibration, unseen = photographs(folder)[::2], photographs(folder)[1::2]
    if not unseen:
        raise NoPhotographsError(f"{folder} must contain at least 2 images, got {len(calibration)}")
    with TemporaryDirectory(dir=out) as new_folder:
        quantise(out / ORT_FLOAT32.files[0], calibration, Path(new_folder) / INT8)
        agreement = measured_agreement(ORT_INT8, Path(new_folder), unseen, torch_logits(out, unseen))
        (Path(new_folder) / INT8).replace(out / INT8)
    manifest = manifest.without_agreements(ORT_INT8.precision).with_files(out, INT8).with_agreements([agreement])
    write_manifest(manifest, out)
    verdict = "passes the gate" if agreement.passed else "is not used by ENGINE=auto or PRECISION=auto"
    error = f"RMS error of the logits: {agreement.rms_error_ratio:.3f} standard deviations"
    print(f"{out / INT8}: {agreement}; {verdict} ({error})")
    return manifest


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="function.tools.export", description="Write the model files that a pod serves."
    )
    parser.add_argument(
        "--weights",
        metavar="imagenet|random|FILE",
        help="source of the weights; default: imagenet, or with --int8 those already in --out",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of random weights; default: %(default)s")
    parser.add_argument("--int8", action="store_true", help="also write the network in int8; requires --calibrate")
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="DIR",
        help="folder of images for int8: one half to calibrate it, the other to measure its agreement",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("model"), metavar="DIR", help="folder to write; default: model"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, export, print; return 1 with one line on stderr if the weights or the images cannot be read.

    Return NOT_DOWNLOADED if the weights cannot be downloaded.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    if not 0 <= args.seed < 2**63:
        parser.error(f"--seed must be from 0 to 2**63 - 1, got {args.seed}")
    if args.int8 != (args.calibrate is not None):
        parser.error("--int8 and --calibrate DIR must be given together")
    try:
        if args.int8:
            photographs(args.calibrate)  # fails before minutes of export
        if args.int8 and args.weights is None and (args.out / MANIFEST).exists():
            manifest = read_manifest(args.out)
        else:
            manifest = write_files(*_source(args.weights or "imagenet", args.seed), args.out)
            print(f"{args.out}: resnet18 {manifest.version} ({manifest.weights})")
        if args.int8:
            write_int8(manifest, args.calibrate, args.out)
    except BrokenPipeError:  # function.tools.console handles it
        raise
    except (ExportError, NoPhotographsError, ImageError, ModelError, OSError) as error:
        print(f"function.tools.export: {error}", file=sys.stderr)
        return NOT_DOWNLOADED if isinstance(error, DownloadError) else 1
    return 0


def _source(weights: str, seed: int) -> tuple[nn.Module, Source]:
    if weights == "imagenet":
        return imagenet()
    return random_weights(seed) if weights == "random" else from_file(Path(weights))

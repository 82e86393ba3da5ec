"""Inputs for the fuzzer: images of all kinds that a pod may receive, mutated and sent over every protocol."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

import numpy as np
from PIL import Image
from requests import Response

from tests.function.variations import BOUNDARY, EVENT, JSON, Request, as_event, too_large, varied

# Of kinds(): images that must be classified, whatever metadata they have and however they are sent.
VALID = ("JPEG", "progressive JPEG", "CMYK JPEG", "EXIF-rotated JPEG", "PNG", "16-bit PNG", "palette PNG", "alpha PNG")


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """Return a PNG whose header declares far more pixels than the file contains."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def kinds(photograph: bytes) -> dict[str, bytes]:
    """Return the image in the modes and formats of cameras, scanners and browsers, and in some that are invalid."""
    picture = Image.open(io.BytesIO(photograph)).convert("RGB").resize((320, 240))
    grey = picture.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [picture.rotate(angle) for angle in (10, 20)]
    return {
        "JPEG": encoded(picture, "JPEG"),
        "progressive JPEG": encoded(picture, "JPEG", progressive=True),
        "CMYK JPEG": encoded(picture.convert("CMYK"), "JPEG"),
        "YCbCr JPEG of grey": encoded(grey, "JPEG"),
        "EXIF-rotated JPEG": encoded(picture, "JPEG", exif=exif),
        "PNG": encoded(picture, "PNG"),
        "16-bit PNG": encoded(deep, "PNG"),
        "palette PNG": encoded(picture.quantize(64), "PNG"),
        "1-bit PNG": encoded(picture.convert("1"), "PNG"),
        "alpha PNG": encoded(picture.convert("RGBA"), "PNG"),
        "grey alpha PNG": encoded(picture.convert("LA"), "PNG"),
        "animated GIF": encoded(picture, "GIF", save_all=True, append_images=frames),
        "animated WebP": encoded(picture, "WEBP", save_all=True, append_images=frames),
        "WebP": encoded(picture, "WEBP"),
        "BMP": encoded(picture, "BMP"),
        "1 x 1": encoded(picture.resize((1, 1)), "PNG"),
        "30,000 x 1": encoded(Image.new("RGB", (30_000, 1)), "PNG"),
        "1 x 30,000": encoded(Image.new("RGB", (1, 30_000)), "PNG"),
        "bomb that Pillow detects": bomb(60_000, 60_000),
        "bomb that Pillow misses": bomb(10_000, 6_000),
        "bomb of 16 bits": bomb(7_000, 7_000, 16, 6),
        "large WebP": encoded(Image.new("RGBA", (5000, 3000)), "WEBP", lossless=True, method=0),
        "large alpha PNG": encoded(Image.new("RGBA", (5000, 5000), (1, 2, 3, 4)), "PNG"),
        "WebP beyond the limit": encoded(Image.new("RGBA", (5000, 3001)), "WEBP", lossless=True, method=0),
        "no pixels": bomb(0, 0),
        "TIFF": encoded(picture, "TIFF"),
        "text": b"I am a text named .jpg",
        "nothing": b"",
    }


def truncated(body: bytes, rng: Random) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def bits_flipped(body: bytes, rng: Random) -> bytes:
    changed = bytearray(body)
    for _ in range(rng.choice((1, 3, 30))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def header_changed(body: bytes, rng: Random) -> bytes:
    """Change bytes at the beginning, where sizes, counts and markers are."""
    changed = bytearray(body)
    for _ in range(rng.choice((1, 4))):
        start = rng.randrange(min(len(changed), 600) + 1)
        changed[start : start + rng.choice((1, 2, 4))] = rng.choice((b"\xff" * 4, b"\0" * 4, rng.randbytes(4)))
    return bytes(changed)


def stretch_repeated(body: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(body) + 1)
    return body[:start] + body[start : start + rng.randrange(2000)] * rng.randrange(5) + body[start:]


def untouched(body: bytes, _: Random) -> bytes:
    return body


MUTATORS: tuple[Callable[[bytes, Random], bytes], ...] = (
    untouched,
    truncated,
    bits_flipped,
    header_changed,
    stretch_repeated,
)


def raw(image: bytes, rng: Random) -> Request:
    return Request("/predict", {"Content-Type": rng.choice(("image/jpeg", "image/png", "text/html", ""))}, image)


def form(image: bytes, rng: Random) -> Request:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
    body = b"".join(part + image + b"\r\n" for _ in range(rng.choice((1, 1, 2)))) + f"--{BOUNDARY}--\r\n".encode()
    return Request("/predict", {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, body)


def v1(image: bytes, _: Random) -> Request:
    document = {"instances": [{"image": {"b64": base64.b64encode(image).decode()}}]}
    return Request("/v1/models/resnet18:predict", {"Content-Type": JSON}, json.dumps(document).encode())


def v2(image: bytes, _: Random) -> Request:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(image).decode()]}
    return Request(
        "/v2/models/resnet18/infer", {"Content-Type": JSON}, json.dumps({"id": "1", "inputs": [tensor]}).encode()
    )


def v2_binary(image: bytes, rng: Random) -> Request:
    binary = struct.pack("<I", len(image)) + image
    size = {"binary_data_size": len(binary) + rng.choice((0, 0, 0, 1, -5))}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = str(len(head) + rng.choice((0, 0, 0, 1, -1, 10**9)))
    return Request("/v2/models/resnet18/infer", {"Inference-Header-Content-Length": length}, head + binary)


def event(image: bytes, _: Random) -> Request:
    return as_event(image)


def structured_event(image: bytes, _: Random) -> Request:
    document = {**EVENT, "datacontenttype": "image/jpeg", "data_base64": base64.b64encode(image).decode()}
    return Request("/", {"Content-Type": "application/cloudevents+json"}, json.dumps(document).encode())


PROTOCOLS: tuple[Callable[[bytes, Random], Request], ...] = (raw, form, v1, v2, v2_binary, event, structured_event)


def request(seed: int, images: Mapping[str, bytes]) -> Request:
    """Return the input for a seed: half are mutated images, half are valid ones in one of the variations.

    In every eighth the body is mutated too, and one in 400 is too large.
    """
    rng = Random(seed)
    if seed % 400 == 399:
        return too_large(rng)
    if seed % 2:
        made = varied(images[rng.choice(VALID)], rng)
    else:
        image = rng.choice(MUTATORS)(rng.choice(tuple(images.values())), rng)
        made = rng.choice(PROTOCOLS)(image, rng)
    if seed % 8 in (0, 7):
        made = replace(made, body=rng.choice(MUTATORS)(made.body, rng), valid=False)
    return made


def fault_of(made: Request, response: Response) -> str:
    """Return what is wrong with the response to an input; empty if nothing is."""
    if response.status_code >= 500:
        return "a 5xx"
    if "X-Pod" not in response.headers:
        return "no X-Pod"
    if response.status_code >= 400 and not refused_with_reason(response):
        return "no reason"
    if made.valid and response.status_code != 200:
        return "a valid image was refused"
    wrong = [name for name, value in made.returned.items() if made.valid and response.headers.get(name) != value]
    return f"another {', '.join(wrong)}" if wrong else ""


def refused_with_reason(response: Response) -> bool:
    try:
        return len(response.json()["error"]) > 10
    except (ValueError, KeyError, TypeError):
        return False

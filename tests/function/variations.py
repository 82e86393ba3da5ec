"""Variations that must not cost a valid image its labels: metadata, codings, spellings and headers of real clients.

Each is named after its kind. The fuzzer expects 200 for a valid image in any one of them, and no 5xx once it is mutated too.
"""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from urllib.parse import quote

JSON = "application/json"
OCTETS = "application/octet-stream"
BOUNDARY = "frontier"
EVENT = {"specversion": "1.0", "id": "1", "source": "/fuzz", "type": "com.example.photo"}
V1 = "/v1/models/resnet18:predict"
V2 = "/v2/models/resnet18/infer"


@dataclass(frozen=True, slots=True)
class Request:
    """One POST. kind: of its variation. valid: it must get 200. returned: headers that the response must have."""

    path: str
    headers: dict[str, str | bytes]
    body: bytes
    kind: str = ""
    valid: bool = False
    returned: dict[str, str] = field(default_factory=dict)


def plain(image: bytes) -> Request:
    return Request("/predict", {"Content-Type": "image/jpeg"}, image)


def as_event(image: bytes, **headers: str | bytes) -> Request:
    attributes = {f"ce-{name}": value for name, value in EVENT.items()}
    return Request("/", {**attributes, "Content-Type": "image/jpeg", **headers}, image)


def as_v2(text: str) -> Request:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    return Request(V2, {"Content-Type": JSON}, json.dumps({"inputs": [tensor]}).encode())


def as_v1(text: str) -> Request:
    return Request(V1, {"Content-Type": JSON}, json.dumps({"instances": [{"b64": text}]}).encode())


def as_form(image: bytes, disposition: str, *more: bytes, content_type: str = "") -> Request:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
    body = head + image + b"\r\n" + b"".join(more) + f"--{BOUNDARY}--\r\n".encode()
    return Request("/predict", {"Content-Type": content_type or f"multipart/form-data; boundary={BOUNDARY}"}, body)


def any_protocol(image: bytes, rng: Random) -> Request:
    text = base64.b64encode(image).decode()
    made = (plain(image), as_event(image), as_v1(text), as_v2(text), as_form(image, 'name="file"; filename="a"'))
    return rng.choice(made)


def chunk(kind: bytes, content: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ wrong)


def png_chunks(rng: Random) -> bytes:
    long, junk = zlib.compress(bytes(rng.choice((10, 2 << 20)))), rng.randbytes(rng.randrange(20))
    return rng.choice(
        (
            chunk(b"iCCP", b"a\0\0" + long),
            chunk(b"zTXt", b"Comment\0\0" + long),
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + long),
            chunk(b"tEXt", b"Comment\0" + junk, wrong=rng.choice((0, 1))),
            chunk(rng.choice((b"gAMA", b"cHRM", b"pHYs", b"sRGB", b"acTL", b"fcTL", b"eXIf", b"zTXt", b"iCCP")), junk),
        )
    )


def exif(rng: Random) -> bytes:
    """Return EXIF with an orientation of any type and value."""
    kind, value = rng.choice(
        (
            (5, struct.pack(">II", 1, 0)),  # rationals: infinity, no number, and a negative one
            (5, bytes(8)),
            (10, struct.pack(">ii", -6, 1)),
            (12, struct.pack(">d", float("inf"))),
            (2, b"upright\0"),
            (rng.choice((1, 3, 4, 7, 9, 11, 13)), rng.randbytes(8)),
        )
    )
    entry = struct.pack(">HHII", 0x0112, kind, rng.choice((1, 1, 1, 1, 1, 0, 2, 1 << 31)), 26)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4) + value


def jpeg_segment(rng: Random) -> bytes:
    junk = rng.randbytes(rng.randrange(20))
    marker, content = rng.choice(
        (
            *[(0xE1, exif(rng))] * 3,
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + junk),
            (0xE2, b"ICC_PROFILE\0" + junk[:3]),
            (0xE2, b"MPF\0" + junk),
            (0xED, b"Photoshop 3.0\x008BIM" + junk),
            (0xFE, junk),
        )
    )
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def metadata(image: bytes, rng: Random) -> Request:
    if image.startswith(b"\x89PNG"):
        at = rng.choice((33, image.rindex(b"IEND") - 4))
        image = image[:at] + png_chunks(rng) + image[at:]
    elif image.startswith(b"\xff\xd8"):
        image = image[:2] + jpeg_segment(rng) + image[2:]
    return any_protocol(image, rng)


def coding(image: bytes, rng: Random) -> Request:
    made = any_protocol(image, rng)
    name, encode = rng.choice(
        (("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", deflated))
    )
    return replace(made, headers={**made.headers, "Content-Encoding": name}, body=encode(made.body))


def deflated(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


def raw_binary(image: bytes, rng: Random) -> Request:
    counted = struct.pack("<I", len(image)) * rng.choice((0, 1))
    return Request(V2, {"Content-Type": OCTETS, "Inference-Header-Content-Length": "0"}, counted + image)


def loose_base64(image: bytes, rng: Random) -> Request:
    strict, safe = base64.b64encode(image).decode(), base64.urlsafe_b64encode(image).decode()
    text = rng.choice(
        (
            base64.encodebytes(image).decode(),
            safe,
            safe.rstrip("="),
            f" {strict}\n",
            f"data:image/jpeg;base64,{strict}",
            "data:;base64," + quote(strict),
        )
    )
    event = {**EVENT, "datacontenttype": "image/jpeg", "data_base64": text}
    structured = Request("/", {"Content-Type": "application/cloudevents+json"}, json.dumps(event).encode())
    return rng.choice((as_v1(text), as_v2(text), structured))


def file_name(image: bytes, rng: Random) -> Request:
    names = ("; filename*=utf-8''k%C3%A4tzchen.jpg", '; filename*0="a"; filename*1="b"', "; filename*0*=utf-8''a")
    return as_form(image, 'name="file"' + rng.choice(names))


def empty_input(image: bytes, _: Random) -> Request:
    empty = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n'.encode()
    return as_form(image, 'name="file"; filename="a.jpg"', empty)


def no_boundary(image: bytes, _: Random) -> Request:
    return as_form(image, 'name="file"; filename="a.jpg"', content_type="multipart/form-data")


def with_headers(*choices: Mapping[str, str]) -> Callable[[bytes, Random], Request]:
    def made(image: bytes, rng: Random) -> Request:
        found = any_protocol(image, rng)
        return replace(found, headers={**found.headers, **rng.choice(choices)})

    return made


def subject(image: bytes, rng: Random) -> Request:
    text = rng.choice(("caf\u00e9.jpg", "\u65e5\u672c.png", "\U0001f600"))
    made = as_event(image, **{"ce-subject": text.encode()})
    return replace(made, returned={"ce-subject": quote(text)})


def extension(image: bytes, rng: Random) -> Request:
    name = rng.choice(("knativekafkapartition", "a" * 200, "my-key", "x.y"))
    return as_event(image, **{f"ce-{name}": rng.choice(("0", "%", "%ff", "a b"))})


def slashes(image: bytes, rng: Random) -> Request:
    made = any_protocol(image, rng)
    return replace(made, path=rng.choice((f"{made.path}/", f"/{made.path}", f"{made.path}//")))


TOKEN = {"Authorization": "Bearer " + "a" * 8500}
COOKIES = {"Cookie": "; ".join(f"c{number}={'b' * 90}" for number in range(200))}
SCHEMES = (
    {"X-Forwarded-Proto": "https", "X-Forwarded-Protocol": "https"},
    {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"},
    {"SCRIPT_NAME": "/elsewhere"},
    {"X-Forwarded-For": "[::1]:80", "Forwarded": 'for="[::1]";proto=https'},
)

VARIATIONS: dict[str, Callable[[bytes, Random], Request]] = {
    "metadata": metadata,
    "content coding": coding,
    "raw binary V2": raw_binary,
    "loose base64": loose_base64,
    "filename*": file_name,
    "empty input": empty_input,
    "no boundary": no_boundary,
    "long headers": with_headers(TOKEN, COOKIES),
    "scheme headers": with_headers(*SCHEMES),
    "bare UTF-8": subject,
    "extension names": extension,
    "slashes": slashes,
}


def too_large(rng: Random) -> Request:
    """Return a body beyond the limit, whose client reads only after it has sent."""
    return Request("/predict", {}, bytes(rng.choice((11_000_000, 20_000_000))), "too large")


def varied(image: bytes, rng: Random) -> Request:
    """Return the valid image in one of the variations."""
    kind = rng.choice(tuple(VARIATIONS))
    return replace(VARIATIONS[kind](image, rng), kind=kind, valid=True)

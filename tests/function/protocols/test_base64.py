"""Base64 as clients write it."""

import base64

import pytest

from function.protocols import RefusedError, from_base64

PHOTO = bytes(range(256)) * 2 + b"\xfb\xef\xff?"  # its base64 has each of the letters that the alphabets differ in
STRICT = base64.b64encode(PHOTO).decode()
SAFE = base64.urlsafe_b64encode(PHOTO).decode()
LINES = base64.encodebytes(PHOTO).decode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(STRICT, id="strict"),
        pytest.param(LINES, id="in lines of 76"),
        pytest.param(LINES.replace("\n", "\r\n"), id="in lines with carriage returns"),
        pytest.param(f"  {STRICT}\t\n", id="in white space"),
        pytest.param(SAFE, id="URL-safe"),
        pytest.param(SAFE.rstrip("="), id="URL-safe without padding"),
        pytest.param(STRICT.rstrip("="), id="without padding"),
        pytest.param(f"data:image/jpeg;base64,{STRICT}", id="a data URI"),
        pytest.param(f"data:;base64,{STRICT}", id="a data URI without a type"),
        pytest.param(f"DATA:image/jpeg;name=a.jpg;BASE64,{LINES}", id="a data URI with a name, in lines"),
        pytest.param(
            "data:image/png;base64," + STRICT.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
            id="a data URI in percent-encoding",
        ),
    ],
)
def test_base64_is_decoded_however_its_client_writes_it(text: str) -> None:
    assert from_base64(text, "b64") == PHOTO


@pytest.mark.parametrize(
    "text", ["YQ==!!", "Y", "YQ=YQ", "a\u00e9==", "data:image/png,YQ==", "data:image/png;base64,!"]
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="b64 must be an image in base64, got"):
        from_base64(text, "b64")

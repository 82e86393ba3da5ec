"""Forms as clients write them, and malformed ones."""

import pytest

from function.protocols import RefusedError
from function.protocols.form import MOST_PARTS, files

TYPE = "multipart/form-data; boundary=b"
NAMED = 'Content-Disposition: form-data; name="file"; filename="a.jpg"'


def part(content: bytes, *headers: str) -> bytes:
    return b"--b\r\n" + "".join(f"{header}\r\n" for header in headers).encode() + b"\r\n" + content + b"\r\n"


END = b"--b--\r\n"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(f"{NAMED}\r\nContent-Type: image/jpeg", id="curl"),
        pytest.param('content-disposition: form-data; name=file; filename="a.jpg"', id="lower case and no quotes"),
        pytest.param('Content-Disposition: form-data; name="file"; filename=""', id="empty file name"),
        pytest.param(
            "Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''a.jpg; filename=a.jpg", id="both names"
        ),
        pytest.param('Content-Disposition: form-data; name="file"; filename="Käse;=%22\\".jpg"', id="odd letters"),
    ],
)
def test_a_file_is_found_however_its_client_writes_it(header: str) -> None:
    assert files(TYPE, part(b"photo", header) + END) == (b"photo",)


FORM_DATA = 'Content-Disposition: form-data; name="file"'


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("; filename*=utf-8''k%C3%A4tzchen.jpg", id="RFC 5987, as requests writes it"),
        pytest.param(";filename*=\"utf-8''a.jpg\"", id="in quotes"),
        pytest.param('; filename*0="a long "; filename*1="name.jpg"', id="in two parts"),
        pytest.param("; filename*0*=utf-8''a%20long; filename*1=name.jpg", id="encoded, in two parts"),
        pytest.param("; FileName*=utf-8''a.jpg", id="in other letters"),
    ],
)
def test_a_file_may_be_named_in_an_extended_way_alone(header: str) -> None:
    assert files(TYPE, part(b"photo", FORM_DATA + header) + END) == (b"photo",)


LEFT_EMPTY = part(b"", f'{FORM_DATA}; filename=""', "Content-Type: application/octet-stream")


def test_an_input_that_was_left_empty_does_not_count() -> None:
    assert files(TYPE, part(b"photo", NAMED) + LEFT_EMPTY + END) == (b"photo",)
    assert files(TYPE, LEFT_EMPTY + LEFT_EMPTY + part(b"photo", NAMED) + END) == (b"photo",)
    with pytest.raises(RefusedError, match="in field 'file', which was left empty"):
        files(TYPE, LEFT_EMPTY + END)


def test_an_empty_file_that_has_a_name_counts() -> None:
    assert files(TYPE, part(b"photo", NAMED) + part(b"", NAMED) + END) == (b"photo", b"")


def test_a_file_in_base64_is_decoded() -> None:
    encoded = part(b"cGhv\r\ndG8=", NAMED, "Content-Transfer-Encoding: base64")
    assert files(TYPE, encoded + part(b"cGhv", NAMED, "Content-Transfer-Encoding: binary") + END) == (b"photo", b"cGhv")


@pytest.mark.parametrize("before", ["", "\r\n"])
def test_a_boundary_that_the_content_type_lacks_is_read_from_the_form(before: str) -> None:
    assert files("multipart/form-data", before.encode() + part(b"photo", NAMED) + END) == (b"photo",)


def test_the_name_of_a_file_may_be_long() -> None:
    name = f'{FORM_DATA}; filename="{"a" * 20_000}.jpg"'
    assert files(TYPE, part(b"photo", name) + END) == (b"photo",)


@pytest.mark.parametrize(
    "content",
    [b"", b"\r\n", b"--b", b"\r\n--", b"\r\n--a--\r\n", bytes(range(256)) * 4000],
    ids=["empty", "a line end", "a boundary within a line", "half of one", "another", "a megabyte of all bytes"],
)
def test_the_content_of_a_file_is_returned_byte_for_byte(content: bytes) -> None:
    assert files(TYPE, part(content, NAMED) + END) == (content,)


def test_files_are_returned_in_order_and_other_fields_ignored() -> None:
    text = part(b"7", 'Content-Disposition: form-data; name="top"')
    other = part(b"no", 'Content-Disposition: form-data; name="mask"; filename="m.png"')
    assert files(TYPE, part(b"one", NAMED) + text + other + part(b"two", NAMED) + END) == (b"one", b"two")


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="b"',
        "multipart/form-data;charset=utf-8; boundary=b",
        "Multipart/Form-Data; BOUNDARY=b",
    ],
)
def test_a_boundary_is_found_however_it_is_written(content_type: str) -> None:
    assert files(content_type, part(b"photo", NAMED) + END) == (b"photo",)


@pytest.mark.parametrize(
    ("content_type", "body", "status", "words"),
    [
        pytest.param(TYPE, END, 400, "a file in field 'file', got fields []", id="no parts"),
        pytest.param(
            TYPE,
            part(b"x", 'Content-Disposition: form-data; name="file"')
            + part(b"x", NAMED.replace("file", "photo", 1))
            + END,
            400,
            "got fields ['file (no file name)', 'photo']",
            id="other fields",
        ),
        pytest.param(TYPE, b"", 400, "malformed form: Unexpected end of multipart stream", id="empty"),
        pytest.param(TYPE, part(b"x", NAMED), 400, "malformed form: Unexpected end of multipart stream", id="cut off"),
        pytest.param(TYPE, part(b"x") + END, 400, "malformed form: Missing Content-Disposition", id="no name"),
        pytest.param(
            TYPE, part(b"x", "nonsense") + END, 400, "malformed form: Malformed segment header", id="no header"
        ),
        pytest.param(
            "multipart/form-data",
            b"abcdefg",
            400,
            "malformed form: Empty boundary (boundary '', 7 bytes)",
            id="no boundary",
        ),
        pytest.param(TYPE, part(b"x", NAMED) * (MOST_PARTS + 1) + END, 413, "may have at most 1000 parts", id="parts"),
        pytest.param(
            TYPE, part(b"x", NAMED, "X: " + "x" * 40_000) + END, 413, "header length exceeded", id="long header"
        ),
        pytest.param(TYPE, part(b"x", NAMED, *["X: x"] * 20) + END, 413, "header count exceeded", id="many headers"),
    ],
)
def test_a_form_without_a_file_is_refused_with_its_reason(
    content_type: str, body: bytes, status: int, words: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        files(content_type, body)
    assert refused.value.status == status
    assert words in str(refused.value)


def test_an_error_repeats_only_the_beginning_of_the_value() -> None:
    with pytest.raises(RefusedError) as refused:
        files(TYPE, part(b"x", 'Content-Disposition: form-data; name="%s"' % ("n" * 4000)) * 900 + END)
    assert len(str(refused.value)) < 200


def test_a_form_with_the_most_allowed_parts_is_accepted() -> None:
    assert len(files(TYPE, part(b"x", NAMED) * MOST_PARTS + END)) == MOST_PARTS

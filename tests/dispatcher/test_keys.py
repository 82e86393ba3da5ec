"""API keys: made by a command, known by their hash, read again when the file changes."""

import logging
import os
from hashlib import sha256
from pathlib import Path

import pytest

from dispatcher.keys import ApiKey, KeyFile, KeysError, credentials, find_key, main, parse_keys

DIGEST = sha256(b"secret").hexdigest()


def test_a_line_names_a_key_its_hash_and_its_right_to_priority() -> None:
    text = f"# clients\n\nada {DIGEST}\nbob {sha256(b'other').hexdigest()} high  # batch\n"
    ada, bob = parse_keys(text)
    assert (ada, bob.name, bob.high) == (ApiKey("ada", DIGEST), "bob", True)
    assert find_key((ada, bob), b"secret") == ada
    assert find_key((ada, bob), b"Secret") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ada secret", "line 1 must be NAME SHA256HEX [high], got 'ada secret'"),
        (f"a b {DIGEST}", "line 1 must be"),
        (f"ada {DIGEST.upper()}", "line 1 must be"),
        (f"\nada {DIGEST} low", "line 2 must be"),
        (f"ada {DIGEST}\nada {DIGEST}", "no two keys may have the same name"),
        ("# none\n", "at least one key, got none"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(KeysError) as caught:
        parse_keys(text)
    assert words in str(caught.value)


def test_the_secret_itself_is_never_shown_in_full(tmp_path: Path) -> None:
    with pytest.raises(KeysError) as caught:
        parse_keys("ada a-very-long-secret-that-somebody-wrote-there")
    assert "somebody" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, []),
        ({"Authorization": "Bearer abc"}, [(b"authorization", b"abc")]),
        ({"Authorization": "bearer  abc "}, [(b"authorization", b"abc")]),
        ({"Authorization": "Basic abc"}, []),
        ({"X-API-Key": "abc"}, [(b"x-api-key", b"abc")]),
        ({"Authorization": "Bearer a", "X-API-Key": "b"}, [(b"authorization", b"a"), (b"x-api-key", b"b")]),
    ],
)
def test_credentials_are_found_in_two_fields(headers: dict[str, str], found: list[tuple[bytes, bytes]]) -> None:
    assert credentials(headers) == found


def test_a_changed_file_counts_and_a_broken_one_keeps_the_keys_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"ada {DIGEST}\n")
    keys = KeyFile(path)
    assert [key.name for key in keys.keys(0.0)] == ["ada"]
    path.write_text(f"robert {DIGEST}\n")
    assert [key.name for key in keys.keys(0.5)] == ["ada"], "the file is looked at once a second"
    assert [key.name for key in keys.keys(1.5)] == ["robert"]
    with caplog.at_level(logging.ERROR):
        path.write_text("broken\n")
        for now_s in (3.0, 4.5, 6.0):
            assert [key.name for key in keys.keys(now_s)] == ["robert"]
        path.unlink()
        for now_s in (7.5, 9.0):
            assert [key.name for key in keys.keys(now_s)] == ["robert"]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [str(path), f"cannot read {path}"]
    path.write_text(f"eve {DIGEST}\n")
    assert [key.name for key in keys.keys(11.0)] == ["eve"]


def test_a_file_that_cannot_be_read_at_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="cannot read"):
        KeyFile(tmp_path / "none")


def test_a_made_key_fits_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ada", "--high"]) == 0
    secret, line = (shown.partition(": ")[2] for shown in capsys.readouterr().out.splitlines())
    (key,) = parse_keys(line)
    assert (key.name, key.high) == ("ada", True)
    assert find_key((key,), secret.encode()) == key
    assert len(secret) >= 40


def test_a_name_that_no_line_could_hold_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ada lovelace"]) == 2
    assert "got 'ada lovelace'" in capsys.readouterr().err


def test_nothing_of_this_file_needs_a_clock_of_the_file_system(tmp_path: Path) -> None:
    """A file of the same size and time but another inode, as a Secret's symbolic link gives, counts as changed."""
    old, new, link = tmp_path / "1", tmp_path / "2", tmp_path / "keys"
    old.write_text(f"ada {DIGEST}\n")
    new.write_text(f"eve {DIGEST}\n")
    for path in (old, new):
        os.utime(path, (1, 1))
    link.symlink_to(old)
    keys = KeyFile(link)
    link.unlink()
    link.symlink_to(new)
    assert [key.name for key in keys.keys(5.0)] == ["eve"]

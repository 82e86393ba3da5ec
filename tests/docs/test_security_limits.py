"""The limits in docs/security.md are those of the programs."""

import re

import pytest

from autoscaler_tuning.live import status_server
from dispatcher import __main__ as dispatcher_main
from dispatcher import control, exchange, replies
from dispatcher.config import parse_config
from function import worker
from function.config import HttpConfig
from tests.paths import ROOT

DISPATCHER = parse_config([], {})
PAGE = (ROOT / "docs/security.md").read_text()


def cells(row: str) -> list[str]:
    """Return the limits of a row: dispatcher, control port, pod, controller."""
    (found,) = re.findall(rf"^\| {re.escape(row)} \|(.*)\|$", PAGE, re.MULTILINE)
    return [cell.strip() for cell in found.split("|")]


def number(cell: str) -> float:
    return float(re.findall(r"[\d,]+", cell)[0].replace(",", ""))


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ("request line", 0, exchange.HEADER_LIMIT_BYTES),
        ("header field", 0, exchange.HEADER_LIMIT_BYTES),
        ("header fields", 0, exchange.HEADERS_LIMIT),
        ("unfinished heads", 0, replies.HEAD_LIMIT_BYTES),
        ("body", 0, DISPATCHER.max_body_bytes),
        ("body", 2, HttpConfig.from_env({}).max_body_bytes),
        ("pause within a request", 0, DISPATCHER.body_timeout_s),
        ("pause within a request", 1, control.BODY_TIMEOUT_S),
        ("pause within a request", 2, worker.MAX_PAUSE_S),
        ("whole request", 0, DISPATCHER.request_timeout_s),
        ("whole request", 2, worker.MAX_PAUSE_S),
        ("pause in reading a response", 2, 2 * worker.MAX_SEND_PAUSE_S),
        ("idle connection", 0, dispatcher_main.KEEPALIVE_S),
        ("idle connection", 1, dispatcher_main.KEEPALIVE_S),
        ("connections", 3, status_server.MOST_THREADS),
    ],
)
def test_a_limit_is_that_of_the_program(row: str, column: int, value: float) -> None:
    assert number(cells(row)[column]) == value


def test_other_numbers_of_the_table_are_those_of_the_programs() -> None:
    assert f"{replies.HEADS_LIMIT_BYTES:,} together" in cells("unfinished heads")[0]
    assert f"pauses for {worker.MAX_LINGER_PAUSE_S} s or {worker.MAX_LINGER_S} s are over" in " ".join(PAGE.split())
    assert f"1 s for each {worker.MIN_BYTES_PER_S:,} bytes" in cells("whole request")[2]


def test_the_limits_of_gunicorn_are_those_of_its_settings() -> None:
    """The file is read and not run: it changes the process that runs it."""
    settings = (ROOT / "function/gunicorn.conf.py").read_text()
    assert f"\nlimit_request_field_size = {number(cells('header field')[2]) // 1024:.0f} * 1024\n" in settings
    assert f"\nlimit_request_line = {number(cells('request line')[2]):.0f}\n" in settings
    assert f"\nkeepalive = {number(cells('idle connection')[2]):.0f}\n" in settings

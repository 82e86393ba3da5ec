"""Subclasses as in BarAzmoon's README and by its users, unchanged except for the import."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from aiohttp import FormData

from loadgen.barazmoon import BarAzmoon
from loadgen.errors import InputError
from loadgen.records import Failure
from tests.loadgen.servers import Server, say

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("timing")]


@pytest.fixture
def server() -> Iterator[Server]:
    """Start a server that returns the JSON it received, or its own JSON for any other body."""

    def echo(handler: BaseHTTPRequestHandler) -> None:
        body = made.got[-1][1] if made.got else b""
        say(handler, 200, body if body.startswith(b"{") else b'{"KEY": "own"}')

    made = Server(echo)
    yield made
    made.shutdown()


class MyLoadTester(BarAzmoon):
    """The example in the README of the newest version."""

    seen: list[tuple[str, Any]]

    def get_request_data(self) -> tuple[str, str]:
        """Return an id and JSON."""
        return "sending_data_id", json.dumps({"KEY": "VALUE"})

    def process_response(self, sent_data_id: str, response: Any) -> None:
        """Keep the response and return nothing."""
        self.seen.append((sent_data_id, response.get("KEY")))


def test_the_subclass_of_the_readme_runs_unchanged(server: Server) -> None:
    tester = MyLoadTester(workload=[3, 0, 2], endpoint=server.url, http_method="post")
    tester.seen = []
    assert tester.start() == (5, 5)
    assert tester.seen == [("sending_data_id", "VALUE")] * 5
    assert server.got[0][0]["Content-Type"] == "text/plain; charset=utf-8"


def test_each_second_has_its_requests_and_latencies_are_recorded(server: Server) -> None:
    """Two faults of BarAzmoon are absent: late requests in another second, and an error for a second without requests."""
    tester = MyLoadTester(workload=[4, 0, 3], endpoint=server.url, http_method="post")
    tester.seen = []
    tester.start()
    assert [int(record.intended_s) for record in tester.replay.records] == [0, 0, 0, 0, 2, 2, 2]
    assert tester.summary.latency.p99_s > 0
    assert tester.summary.statuses == {200: 7}
    assert server.connections < 7


def test_the_older_subclass_of_the_readme_runs_too(server: Server) -> None:
    seen = []

    class Old(BarAzmoon):
        """Sets everything in the class."""

        endpoint = server.url
        http_method = "post"
        timeout = 2

        def get_workload(self) -> list[int]:
            """Return two seconds."""
            return [2, 1]

        @classmethod
        def get_request_data(cls) -> tuple[int, str]:
            """Return an id that is not a string."""
            return 7, json.dumps({"KEY": "VALUE"})

        @classmethod
        def process_response(cls, sent_data_id: int, response: Any) -> None:
            """Keep the response."""
            seen.append((sent_data_id, response["KEY"]))

    assert Old().start() == (3, 3)
    assert seen == [(7, "VALUE")] * 3


def test_forms_and_requests_without_a_body_are_sent_as_by_aiohttp(server: Server) -> None:
    class Form(BarAzmoon):
        """Sends images in a form and has an argument of its own."""

        def __init__(self, *, image: bytes, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.image = image

        def get_request_data(self) -> tuple[str, FormData]:
            """Return a form with a file."""
            form = FormData()
            form.add_field("file", self.image, filename="a.jpg", content_type="image/jpeg")
            return "a.jpg", form

    posted = Form(image=b"JPEG", workload=[1], endpoint=server.url, http_method="post", timeout=30, other="kept")
    assert posted.start() == (1, 1)
    assert posted.kwargs == {"timeout": 30, "other": "kept"}
    assert b'filename="a.jpg"' in server.got[0][1]
    assert BarAzmoon(workload=[2], endpoint=server.url).start() == (2, 2)


def test_false_exceptions_bad_statuses_and_invalid_json_are_different_failures() -> None:
    responses = iter([(200, b"{}"), (200, b"{}"), (503, b"{}"), (200, b"<html>"), (200, b"{}")])
    turn = threading.Lock()

    def in_turn(handler: BaseHTTPRequestHandler) -> None:
        with turn:
            say(handler, *next(responses))

    class Picky(BarAzmoon):
        """Rejects the first response and raises at the second."""

        heard = 0

        def process_response(self, sent_data_id: Any, response: Any) -> object:
            """Handle a response that is JSON."""
            self.heard += 1
            if self.heard == 2:
                raise KeyError("label")
            return self.heard != 1

    picky = Picky(workload=[1, 1, 1, 1, 1], endpoint=Server(in_turn).url, mode="even")
    assert picky.start() == (5, 1)
    failures = [(record.failure, record.error) for record in picky.replay.records]
    assert failures[0] == (Failure.REFUSED, "process_response returned False")
    assert failures[1] == (Failure.REFUSED, "process_response: KeyError: 'label'")
    assert failures[2] == (Failure.STATUS, "status 503")
    assert failures[3][0] is Failure.PROTOCOL
    assert failures[4] == (Failure.NONE, "")


def test_a_missing_response_is_a_timeout() -> None:
    silent = threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        silent.wait(30)

    tester = BarAzmoon(workload=[2], endpoint=Server(wait).url, timeout=0.3)
    assert tester.start() == (2, 0)
    silent.set()
    assert tester.summary.errors == {"no response within 0.3 s": 2}


def test_an_exception_in_get_request_data_ends_the_run_and_is_raised(server: Server) -> None:
    class Broken(BarAzmoon):
        """Cannot read its image."""

        def get_request_data(self) -> tuple[Any, Any]:
            """Raise an error."""
            raise FileNotFoundError("no image")

    with pytest.raises(FileNotFoundError, match="no image"):
        Broken(workload=[1, 0, 0, 1], endpoint=server.url).start()


def test_invalid_subclasses_and_workloads_are_refused_at_once() -> None:
    with pytest.raises(
        InputError, match="workload must be a list of non-negative numbers up to 1000000, got \\[1, -1\\]"
    ):
        BarAzmoon(workload=[1, -1], endpoint="http://127.0.0.1/")
    with pytest.raises(InputError, match="workload is missing"):
        BarAzmoon(endpoint="http://127.0.0.1/")

    class Predicts(BarAzmoon):
        """Overrides an internal method."""

        async def predict(self, delay: float, session: object) -> int:
            """Never called."""
            return 1

    with pytest.raises(TypeError, match=r"Predicts\.predict would not be called"):
        Predicts(workload=[1], endpoint="http://127.0.0.1/")

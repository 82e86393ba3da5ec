"""What the page's addresses answer: files, history, events, the export, and the buttons with their key."""

import gzip
import hashlib
import json
import re

import pytest
import requests

from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page import serving
from autoscaler_tuning.live.page.serving import MOST_ACTIONS_PER_MINUTE, STATIC, Page, carry_out, export
from tests.autoscaler_tuning.live.page.made import full_history, growing, row, served

MOST_BYTES = 100_000
KEY = {"Authorization": "Bearer k3y"}


def test_a_browser_gets_the_page_and_a_probe_its_json_at_the_same_address() -> None:
    with served(full_history(3)) as (url, _):
        page = requests.get(f"{url}/", headers={"Accept": "text/html,*/*"}, timeout=60)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert requests.get(f"{url}/", headers={"Accept": "*/*"}, timeout=60).json()["status"] == "starting"


def test_everything_together_takes_at_most_100_kb_with_an_hour_of_history() -> None:
    with served(full_history(3600)) as (url, _):
        paths = ["/page", *(f"/page/{name}" for name in serving.ASSETS if name != "page.html"), "/page/history"]
        sent = 0
        for path in paths:
            answer = requests.get(f"{url}{path}", headers={"Accept-Encoding": "gzip"}, timeout=60, stream=True)
            assert answer.status_code == 200
            sent += len(answer.raw.read(decode_content=False))
    assert sent <= MOST_BYTES


def test_the_page_may_load_nothing_from_elsewhere() -> None:
    with served(full_history(3)) as (url, _):
        policy = requests.get(f"{url}/page", timeout=60).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name in ("page.html", "page.css", "page.js"):
        assert not re.search(r"https?://|//[a-z]+\.", (STATIC / name).read_text())


def test_the_vendored_files_are_those_whose_hashes_are_written_down() -> None:
    folder = STATIC / "uplot"
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    assert sums.keys() == {path.name for path in folder.iterdir()} - {"SHA256SUMS", "README"}
    for name, expected in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected


def test_events_follow_each_other_until_the_viewer_leaves() -> None:
    history = full_history(3)
    with (
        served(history) as (url, _),
        growing(history, 0.25),
        requests.get(f"{url}/page/events", stream=True, timeout=60) as answer,
    ):
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = (line for line in answer.iter_lines() if line.startswith(b"data: "))
        rows = [json.loads(next(lines).removeprefix(b"data: "))["row"] for _ in range(3)]
    assert rows[0][0] < rows[1][0] < rows[2][0]


def test_a_viewer_gets_no_old_second_and_a_sign_of_life_while_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "KEEP_ALIVE_S", 0.01)
    with served(full_history(3)) as (url, _), requests.get(f"{url}/page/events", stream=True, timeout=60) as answer:
        lines = filter(None, answer.iter_lines())
        assert [next(lines) for _ in range(3)] == [b"retry: 2000", b": no news", b": no news"]


def test_a_viewer_misses_nothing_between_the_history_and_the_events() -> None:
    history = full_history(3)
    with served(history) as (url, _):
        known = requests.get(f"{url}/page/history", timeout=60).json()["count"]
        for second in (4, 5, 6):
            history.add(row(second, float(second)), [], [])
        for after, seconds in ((known, (4, 5, 6)), (10**9, (7,)), ("x", (7,))):
            with requests.get(f"{url}/page/events?after={after}", stream=True, timeout=60) as answer:
                lines = filter(None, answer.iter_lines(chunk_size=1))
                assert next(lines) == b"retry: 2000"
                if after != known:
                    history.add(row(7, 7.0), [], [])
                rows = [json.loads(next(lines).removeprefix(b"data: "))["row"] for _ in seconds]
                assert [one[0] for one in rows] == list(seconds)


@pytest.mark.parametrize("path", ["/page", "/page/page.js", "/page/history", "/page/export", "/page/nowhere"])
def test_no_answer_is_kept_guessed_framed_or_cut(path: str) -> None:
    with served(full_history(3)) as (url, _):
        headers = requests.get(f"{url}{path}", timeout=60).headers
        head = requests.head(f"{url}{path}", headers={"Accept-Encoding": "identity"}, timeout=60)
    named = ("Cache-Control", "X-Content-Type-Options", "Referrer-Policy", "Vary")
    assert [headers[name] for name in named] == ["no-store", "nosniff", "no-referrer", "Accept-Encoding"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert int(head.headers["Content-Length"]) > 0


def test_a_question_for_the_head_gets_no_body() -> None:
    page = Page({"a": full_history(3, "a")}, None)
    assert list(page.respond({"REQUEST_METHOD": "HEAD", "PATH_INFO": "/page"}, lambda *_: print)) == []


def test_too_many_viewers_are_refused_and_a_seat_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_VIEWERS", 1)
    history = full_history(3)
    with served(history) as (url, _), growing(history, 0.05):
        with requests.get(f"{url}/page/events", stream=True, timeout=60) as first:
            next(first.iter_lines())
            refused = requests.get(f"{url}/page/events", timeout=60)
            assert (refused.status_code, refused.json()["error"]) == (503, "at most 1 viewers at once")
        for _ in range(100):
            with requests.get(f"{url}/page/events", stream=True, timeout=60) as again:
                if again.status_code == 200:
                    return
    pytest.fail("the seat was not given back")


def test_each_service_has_its_history_and_an_unknown_one_is_named() -> None:
    with served(full_history(3, "cats"), full_history(5, "dogs")) as (url, _):
        assert requests.get(f"{url}/page/history", timeout=60).json()["service"] == "cats"
        dogs = requests.get(f"{url}/page/history?service=dogs", timeout=60).json()
        assert (len(dogs["rows"]), dogs["services"]) == (5, ["cats", "dogs"])
        unknown = requests.get(f"{url}/page/history?service=cows", timeout=60)
        assert unknown.status_code == 404
        assert unknown.json()["error"] == "service must be one of: cats, dogs; got 'cows'"
        assert requests.get(f"{url}/page/x", timeout=60).status_code == 404


def test_the_export_is_one_file_without_any_address() -> None:
    text = export(full_history(30).document())
    assert not re.search(r"(src|href)=\"(?!data:)", text.replace('href="/page/export"', ""))
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert len(json.loads(data)["rows"]) == 30
    assert len(gzip.compress(text.encode())) <= MOST_BYTES


def test_the_export_is_saved_and_not_shown_under_the_pages_policy() -> None:
    with served(full_history(3)) as (url, _):
        answer = requests.get(f"{url}/page/export", timeout=60)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="resnet18.html"'
    assert 'id="data"' in answer.text


def test_a_reason_cannot_break_out_of_the_export() -> None:
    history = full_history(1, service="</script><script>alert(1)</script>")
    assert "<script>alert" not in export(history.document())


def test_without_a_key_file_there_are_no_buttons() -> None:
    history = full_history(3)
    with served(history) as (url, _):
        assert requests.get(f"{url}/page/history", timeout=60).json()["buttons"] is False
        answer = requests.post(f"{url}/page/action", json={"do": "pause"}, headers=KEY, timeout=60)
    assert answer.status_code == 404
    assert not history.operator.paused


def test_the_key_pauses_resumes_and_sets_bounds_and_each_use_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    history = full_history(3)
    with served(history, key="k3y") as (url, _):
        for body, paused in (({"do": "pause"}, True), ({"do": "resume"}, False)):
            answer = requests.post(f"{url}/page/action", json=body, headers=KEY, timeout=60)
            assert answer.json() == {"done": f"{body['do']}d"}
            assert history.operator.paused is paused
        requests.post(f"{url}/page/action", json={"do": "bounds", "min": 1, "max": 3}, headers=KEY, timeout=60)
        assert history.operator.bounds == (1, 3)
        longest = b'{"do": "bounds", "min": 2, "max": 4}'.ljust(1000)
        assert requests.post(f"{url}/page/action", data=longest, headers=KEY, timeout=60).status_code == 200
    assert history.operator.bounds == (2, 4)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"resnet18: by hand, from 127.0.0.1: {done}" for done in ("paused", "resumed", "bounds 1 to 3", "bounds 2 to 4")
    ]


@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer other"}, {"Authorization": "Bearer k3y\xe9"}])
def test_a_wrong_key_does_nothing(given: dict[str, str]) -> None:
    history = full_history(3)
    with served(history, key="k3y") as (url, _):
        headers = {name: value.encode("latin-1") for name, value in given.items()}
        answer = requests.post(f"{url}/page/action", json={"do": "pause"}, headers=headers, timeout=60)
        assert requests.get(f"{url}/page/action", headers=KEY, timeout=60).status_code == 405
    assert answer.status_code == 401
    assert not history.operator.paused


def test_keys_cannot_be_tried_without_end() -> None:
    with served(full_history(3), key="k3y") as (url, _):
        tried = [requests.post(f"{url}/page/action", timeout=60) for _ in range(MOST_ACTIONS_PER_MINUTE + 1)]
    assert [answer.status_code for answer in tried] == [401] * MOST_ACTIONS_PER_MINUTE + [429]


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "the body must have 1 to 1000 bytes, got 0"),
        (b"x" * 1001, "the body must have 1 to 1000 bytes, got 1001"),
        (b"[]", "do must be pause, resume or bounds, got None"),
        (b'{"do": "stop"}', "do must be pause, resume or bounds, got 'stop'"),
        (b'{"do": "bounds", "min": true, "max": 2}', "min must be an integer, got True"),
        (b'{"do": "bounds", "min": 3, "max": 2}', "bounds must be 0 <= min <= max <= 40 with max >= 1, got 3, 2"),
        (b'{"do": "bounds", "min": 0, "max": 41}', "bounds must be 0 <= min <= max <= 40 with max >= 1, got 0, 41"),
    ],
)
def test_a_wrong_action_names_the_rule_and_the_value(body: bytes, rule: str) -> None:
    with served(full_history(3), key="k3y") as (url, _):
        answer = requests.post(f"{url}/page/action", data=body, headers=KEY, timeout=60)
    assert (answer.status_code, answer.json()["error"]) == (400, rule)


def test_a_pause_is_told_to_the_operators_object() -> None:
    operator = Operator(4)
    assert carry_out({"do": "pause"}, operator) == "paused"
    assert operator.paused

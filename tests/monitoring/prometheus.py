"""A real Prometheus, which scrapes what a test has started."""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.monitoring.queries import RULES
from tests.ports import free_port, wait_for


@dataclass(frozen=True, slots=True)
class Scrape:
    """A scraped address HOST:PORT and the labels that its series get; own: its own labels count before these."""

    job: str
    address: str
    labels: dict[str, str]
    own: bool = False

    def config(self) -> dict[str, Any]:
        """Return the entry of Prometheus' configuration."""
        return {
            "job_name": f"{self.job}@{self.address}",
            "honor_labels": self.own,
            "static_configs": [{"targets": [self.address], "labels": {"job": self.job, **self.labels}}],
        }


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the series of an instant query. Raise AssertionError if it is refused."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=30).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def values(self, expr: str, timeout_s: float = 60) -> list[float]:
        """Wait until the query returns series with numbers, and return these; empty after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            numbers = [float(series["value"][1]) for series in self.query(expr)]
            numbers = [number for number in numbers if not math.isnan(number)]
            if numbers or time.monotonic() > deadline_s:
                return numbers
            time.sleep(0.5)

    def active_alerts(self) -> set[str]:
        """Return the names of the alerts that are pending or fire."""
        alerts = requests.get(f"{self.url}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts}


@contextmanager
def scraping(folder: Path, scrapes: Sequence[Scrape]) -> Iterator[Prometheus]:
    """Run a Prometheus with our rules that scrapes each second; skip the test if it is not installed."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs the program prometheus (Debian: apt-get install prometheus)")
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [scrape.config() for scrape in scrapes],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    argv = [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/-/ready")
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(30)

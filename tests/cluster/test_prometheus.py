"""A real Prometheus scrapes a live Ray session, as docs/cluster.md says, and every panel of the dashboard has data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.nodes import free_port
from tests.needs import missing

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parent.parent.parent
PATIENCE = 300  # seconds, on a busy machine

# A run that reports: totals grow, so that rates are not empty.
RUN = """
import sys, time
import ray
from cluster import session
from cluster.metrics import Metrics, Snapshot
session.connect(None, 1)

@ray.remote(num_cpus=0)
def trains():
    from search.recovery.runner import Meter
    meter = Meter("live")
    for step in range(100000):
        held_out = {"held_out": 0.25} if step == 0 else {}  # a checkpoint, once
        meter.say({"task": "c00001+codes", "stage": "codes", "step": step % 100, "steps": 100, "loss": 0.5, **held_out})
        time.sleep(1)

recovery = trains.remote()
Metrics("idle").update(Snapshot(done=4))  # its next candidate takes long
metrics = Metrics("live", ("Bin2",))
for beat in range(1, 100000):
    metrics.update(Snapshot(
        done=7, running=2, stopped=3, failed=1, wanted=20, best={"Bin2": 0.75}, hypervolume=0.5,
        cache_hits={"comet": 5 * beat}, cache_asked={"comet": 10 * beat}, utterances=6 * beat,
        utterances_per_second=6.0, jobs_running={"score": 2}, seconds_left=90.0, workers=2, driver_milliseconds=4.0))
    metrics.job_ended("score", 2.0)
    time.sleep(1)
"""


class Prometheus:
    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Refused expressions raise HTTPError 400."""
        url = f"{self.address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        deadline = time.time() + PATIENCE
        while True:
            try:
                found = self.ask(expression)
            except urllib.error.HTTPError:
                raise
            except OSError:  # not up yet
                found = []
            if found and found[0]["value"][1] != "NaN":
                return found
            assert time.time() < deadline, f"{expression} stayed empty"
            time.sleep(1)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    binary = shutil.which("prometheus")
    if binary is None:
        missing("prometheus is not installed (apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    ray = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # short: Ray's sockets have names of 107 bytes
    # The shipped file, with this session's folder and no patience.
    settings = yaml.safe_load((ROOT / "cluster" / "prometheus.yml").read_text(encoding="utf-8"))
    (scrape,) = settings["scrape_configs"]
    (found,) = scrape["file_sd_configs"]
    assert found["files"] == ["/tmp/ray/prom_metrics_service_discovery.json"]
    found["files"], found["refresh_interval"] = [str(ray / "ray" / "prom_metrics_service_discovery.json")], "2s"
    settings["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    port = free_port()
    environment = {**os.environ, "RAY_TMPDIR": str(ray), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    log = (folder / "log").open("wb")
    run = subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, env=environment, stdout=log, stderr=log)
    server = subprocess.Popen(
        [
            binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        server.kill()
        run.send_signal(signal.SIGINT)  # Ray takes its processes with it
        try:
            run.wait(timeout=60)
        except subprocess.TimeoutExpired:
            run.kill()
        server.wait()
        log.close()
        shutil.rmtree(ray, ignore_errors=True)


def test_the_values_are_found(prometheus: Prometheus) -> None:
    found = prometheus.wait_for('ray_compression_search_candidates{run="live"}')
    states = {each["metric"]["state"]: float(each["value"][1]) for each in found}
    assert states == {"done": 7, "running": 2, "stopped": 3, "failed": 1}
    (best,) = prometheus.wait_for("ray_compression_search_best_comet")
    assert best["metric"]["bin"] == "Bin2"
    assert float(best["value"][1]) == 0.75
    (hits,) = prometheus.wait_for("ray_compression_search_cache_hits_total")
    assert float(hits["value"][1]) % 5 == 0, "a total, as it was told"
    (seconds,) = prometheus.wait_for(
        "ray_compression_search_job_seconds_sum / ray_compression_search_job_seconds_count"
    )
    assert float(seconds["value"][1]) == 2.0


def test_a_recovery_is_seen_as_its_worker_tells_it(prometheus: Prometheus) -> None:
    for _ in range(5):  # the held-out loss was told once, at a checkpoint
        (held_out,) = prometheus.wait_for('ray_compression_search_recovery_held_out{run="live"}')
        assert (held_out["metric"]["task"], held_out["metric"]["stage"]) == ("c00001+codes", "codes")
        assert float(held_out["value"][1]) == 0.25
        time.sleep(2)


def test_a_run_is_seen_between_two_results(prometheus: Prometheus) -> None:
    prometheus.wait_for('ray_compression_search_job_seconds_count{run="live"} > 30')
    for _ in range(5):
        (done,) = prometheus.ask('ray_compression_search_candidates{run="idle", state="done"}')
        assert float(done["value"][1]) == 4
        time.sleep(2)


def test_every_panel_has_data(prometheus: Prometheus) -> None:
    dashboard = json.loads((ROOT / "cluster" / "grafana.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            found = prometheus.wait_for(target["expr"].replace("$run", ".*"))
            assert all(each["value"][1] != "NaN" for each in found), panel["title"]

"""A search over a real cluster of two nodes, guarded by a token; one node is killed and the search goes on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from results.candidate import Candidate
from results.rows.storage import Table
from tests.cluster.nodes import Nodes

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parent.parent.parent
SMALL = ["--levels", "raw:bf16,grid@1,grid@2", "--segments", "6", "--no-baselines", "--max-new-tokens", "32"]
TRIALS = 16


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    started = Nodes()
    try:
        started.add()
        started.add()
        yield started
    finally:
        started.end()


def command(runs: Path, nodes: Nodes, *more: str) -> list[str]:
    base = [sys.executable, "-m", "search.run", "--bin", "Bin2", "--lang", "en-zh", "--runs", str(runs), "--name", "t"]
    return [*base, *SMALL, "--address", nodes.address, *more]


def refused(runs: Path, nodes: Nodes, *more: str, **environment: str) -> str:
    """The one line that a run ends with that may not start."""
    done = subprocess.run(
        command(runs, nodes, *more),
        cwd=ROOT, env={**nodes.environment, **environment}, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert not (runs / "t").exists(), "a run that could not start leaves nothing"
    told = ("run ", "vocabulary: ", "COMET: ", "Ray: ", "removed ")  # the last where other tests killed a run
    errors = [line for line in done.stderr.splitlines() if not line.startswith(told)]
    assert len(errors) == 1, errors
    return errors[0]


def table(runs: Path) -> list[Candidate]:
    folder = runs / "t" / "candidates.parquet"
    return Table(folder).read() if folder.exists() else []


def test_another_token(nodes: Nodes, tmp_path: Path) -> None:
    assert "wants another token" in refused(tmp_path, nodes, RAY_AUTH_TOKEN="0" * 64)


def test_gpus_that_the_cluster_does_not_have(nodes: Nodes, tmp_path: Path) -> None:
    assert "--gpus-per-worker 1: the cluster has 0 GPUs" in refused(tmp_path, nodes, "--gpus-per-worker", "1")


def test_a_cluster_of_another_python(nodes: Nodes, tmp_path: Path) -> None:
    """What the head tells newcomers is changed, and Ray's own check is never reached."""
    told = {"ray_version": "2.60.0", "python_version": platform.python_version()}
    put = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).internal_kv_put("
    put += "b'CLUSTER_METADATA', sys.argv[2].encode(), True, b'cluster', timeout=30)"
    import ray

    told["ray_version"] = ray.__version__

    def tell(version: str) -> None:
        known = json.dumps(told | {"python_version": version, "ray_init_cluster": False})
        subprocess.run([sys.executable, "-c", put, nodes.address, known], env=nodes.environment, check=True)

    tell("3.9.1")
    try:
        assert "on Python 3.9.1, here are Ray" in refused(tmp_path, nodes)
    finally:
        tell(platform.python_version())


def test_the_dashboard_asks_for_the_token(nodes: Nodes) -> None:
    url = f"http://127.0.0.1:{nodes.dashboard}/nodes?view=summary"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url, timeout=60)
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {nodes.token.read_text()}"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert answer.status == 200


def test_a_node_dies_and_the_search_goes_on(nodes: Nodes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command(tmp_path, nodes, "--workers", "2", "--trials", str(TRIALS)),
            cwd=ROOT, env=nodes.environment, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.time() + 600
        while sum(c.recipe == "search" for c in table(tmp_path)) < 3 or not nodes.works(1):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.time() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        nodes.raylet(1).kill()
        assert process.wait(timeout=900) == 0, log.read_text()[-3000:]
    finally:
        if process.poll() is None:
            os.kill(process.pid, 9)
            process.wait()
    told = log.read_text()
    assert "Ray: 2 nodes, 2 CPUs" in told
    assert "Traceback" not in told
    searched = [c for c in table(tmp_path) if c.recipe == "search"]
    assert len({c.candidate for c in searched}) == TRIALS
    assert len(searched) >= TRIALS
    failed = {c.candidate: c.error for c in searched if c.status == "failed"}
    assert not failed, "nobody is to blame but the node, and it was asked again"

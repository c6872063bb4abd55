"""The launch files: what Ray, KubeRay and Slurm demand of them, a token everywhere, and commands that exist."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import yaml

from cluster import wait
from compress.cli import run
from search.command_line import parser, to_config
from tests.cluster.nodes import free_port
from tests.needs import missing

ROOT = Path(__file__).parent.parent.parent
LAUNCH = ROOT / "cluster" / "launch"


def load(name: str) -> Any:
    return yaml.safe_load((LAUNCH / name).read_text(encoding="utf-8"))


def searches(text: str) -> list[list[str]]:
    """The arguments of every `search.run` in a text."""
    flat = re.sub(r"\n#?\s*", " ", text)
    return [shlex.split(each) for each in re.findall(r"-m search\.run ([^\"'&|;]*)", flat)]


@pytest.mark.parametrize("name", ["cluster.yaml", "rayjob.yaml"])
def test_the_searches_in_them_can_be_meant(name: str) -> None:
    found = searches((LAUNCH / name).read_text(encoding="utf-8"))
    assert found
    for arguments in found:
        config = to_config(parser().parse_args(arguments))
        assert config.address == "auto"


def test_ray_takes_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(load("cluster.yaml")))


def test_every_node_of_the_cluster_file_asks_for_a_token_and_shows_the_dashboard_to_nobody() -> None:
    found = load("cluster.yaml")
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in found[key]
        if " start " in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "~/.ray/auth_token" in found["file_mounts"]


def test_the_job_for_kubernetes() -> None:
    job = load("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == ray.__version__, "of constraints.txt"
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in pods:
        assert isinstance(pod["rayStartParams"], dict)
        assert all(isinstance(value, str) for value in pod["rayStartParams"].values())
        inside = pod["template"]["spec"]
        volumes = {volume["name"] for volume in inside["volumes"]}
        for container in inside["containers"]:
            assert container["image"].endswith(f":{cluster['rayVersion']}")
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert all(isinstance(entry["value"], str) for entry in container["env"]), "Kubernetes takes strings"
    asked = re.search(r"cluster\.wait auto (\d+)", job["spec"]["entrypoint"])
    assert asked is not None
    assert int(asked[1]) == 1 + sum(group["replicas"] for group in cluster["workerGroupSpecs"])


def test_prometheus_takes_its_file(tmp_path: Path) -> None:
    import shutil

    promtool = shutil.which("promtool")
    if promtool is None:
        missing("promtool is not installed (apt-get install prometheus)")
    done = subprocess.run(
        [promtool, "check", "config", str(ROOT / "cluster" / "prometheus.yml")],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_waiting_for_a_cluster_that_never_comes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(wait.main, [f"127.0.0.1:{free_port()}", "1", "--seconds", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: no Ray cluster at")


FAKE_SRUN = """#!/usr/bin/env bash
while [[ "$1" == --* ]]; do shift; done
trap 'kill $(jobs -p) 2>/dev/null; wait; exit 143' TERM
for ((n = 0; n < SLURM_JOB_NUM_NODES; n++)); do SLURM_PROCID=$n "$@" & done
wait
"""


@pytest.mark.engine
def test_the_slurm_script_starts_its_nodes_and_ends_them(tmp_path: Path) -> None:
    """The script itself, with an srun that starts both tasks here, and the doctor in place of a search."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in {"srun": FAKE_SRUN, "scontrol": "#!/usr/bin/env bash\necho 127.0.0.1\n"}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    for package in ("search", "cluster", "results", "evaluate", "compress", "embedded"):
        (tmp_path / "work" / package).symlink_to(ROOT / package)
    job = str(free_port())
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{tools}:{os.environ['PATH']}",
        "VENV": sys.prefix,
        "SLURM_JOB_ID": job,
        "SLURM_JOB_NODELIST": "here[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path / "work"),
        "PORT": str(free_port()),
        "DASHBOARD": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        ["bash", str(LAUNCH / "slurm.sh"), "--doctor"], env=environment, capture_output=True, text=True, timeout=900
    )
    log = tmp_path / "work" / f"ray-{job}.log"
    told = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{log.read_text(errors='replace')[-3000:]}"
    assert done.returncode == 0, told
    assert re.search(r"ok  Ray +2 nodes, 2 CPUs", done.stdout), told
    assert not (tmp_path / "work" / f".token-{job}").exists(), "the token goes with the job"
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if f"ray-{job}/" in " ".join(p.info["cmdline"] or ())]
    assert not left, "nothing of it runs on"


FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
  *search.run*) exec {python} -c "
import pathlib, time
try:
    pathlib.Path('started').touch()
    time.sleep(120)
except KeyboardInterrupt:
    pathlib.Path('interrupted').touch()
    raise SystemExit(130)
" ;;
esac
"""


def test_the_driver_gets_the_signal_before_the_time_limit(tmp_path: Path) -> None:
    """Slurm sends it to the batch shell, for which the `B:` is needed; the shell hands it on."""
    assert "#SBATCH --signal=B:INT@60\n" in (LAUNCH / "slurm.sh").read_text(encoding="utf-8")
    tools = tmp_path / "venv" / "bin"
    tools.mkdir(parents=True)
    scripts = {"python": FAKE_PYTHON.format(python=sys.executable), "srun": "#!/usr/bin/env bash\nexec sleep 120\n"}
    for name, text in (scripts | {"scontrol": "#!/usr/bin/env bash\necho 127.0.0.1\n"}).items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "VENV": str(tmp_path / "venv"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_SUBMIT_DIR": str(tmp_path),
    }
    script = subprocess.Popen(["bash", str(LAUNCH / "slurm.sh")], env=environment, start_new_session=True)
    try:
        wait_for(lambda: (tmp_path / "started").exists())
        script.send_signal(signal.SIGINT)
        assert script.wait(60) == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGKILL)
    assert (tmp_path / "interrupted").exists()


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(600):
        if happened():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within a minute")


def test_the_slurm_script_is_bash_and_keeps_to_its_token() -> None:
    path = LAUNCH / "slurm.sh"
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    text = path.read_text(encoding="utf-8")
    assert text.index("RAY_AUTH_MODE=token") < text.index("srun --ntasks")
    assert "--dashboard-host=127.0.0.1" in text

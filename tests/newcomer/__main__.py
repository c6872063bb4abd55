"""Runs what a newcomer would: every command of the README and docs, in a fresh clone with an environment of its own.

    python -m tests.newcomer [--work DIR] [--quick] [--only TEXT] [--keep]

The first command installs, as the README says. `--quick` leaves out what takes more than minutes; the whole takes an
hour and a half. What each command printed lies in WORK/logs; the first one that fails ends it with exit code 1.
It ends every Ray of this user (`ray stop`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.newcomer.documented import ROOT
from tests.newcomer.steps import STEPS

MAKE_WORLD = """
import csv, shutil, embedded
from pathlib import Path
import soundfile
shutil.copytree(embedded.MODEL, "models/qwen")
rows = list(csv.DictReader(open("embedded/speech/segments.csv", encoding="utf-8", newline="")))
for split in ("dev", "eval"):
    base = Path("data/acl6060/2/acl_6060") / split
    some = [row for row in rows if row["split"] == split][:24]
    (base / "segmented_wavs/gold").mkdir(parents=True)
    (base / "text/xml").mkdir(parents=True)
    talks = ("2022.acl-long.110", "2022.acl-long.117") if split == "dev" else ("2022.acl-long.111", "2022.acl-long.410")
    for number, row in enumerate(some, start=1):
        wave, rate = soundfile.read(Path("embedded/speech") / row["audio_path"])
        soundfile.write(base / f"segmented_wavs/gold/sent_{number}.wav", wave, rate)
    for language, column in (("en", "source_en"), ("de", "target_de"), ("zh", "target_zh")):
        docs = ""
        for talk, half in zip(talks, (some[:12], some[12:])):
            segs = "".join(f'<seg id="{n}">{row[column]}</seg>\\n' for n, row in enumerate(half, start=1))
            docs += f'<doc docid="{talk}">\\n{segs}</doc>\\n'
        path = base / f"text/xml/ACL.6060.{split}.en-xx.{language}.xml"
        path.write_text(f"<mteval>\\n{docs}</mteval>\\n", encoding="utf-8")
"""


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("--work", type=Path, help="where the clone is made (default: a temporary folder)")
    p.add_argument("--quick", action="store_true", help="leave out what takes more than minutes")
    p.add_argument("--only", help="only steps whose printed command contains this")
    p.add_argument("--keep", action="store_true", help="keep the clone")
    options = p.parse_args()
    work = (options.work or Path(tempfile.mkdtemp(prefix="newcomer-"))).resolve()
    clone, logs, home = work / "clone", work / "logs", work / "home"
    for folder in (logs, home):
        folder.mkdir(parents=True, exist_ok=True)
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
        "PATH": f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
    }
    commands = [("make install", "make install")]
    if not (clone / "models").exists():
        (work / "world.py").write_text(MAKE_WORLD, encoding="utf-8")
        commands.append(("(data in the layout of ACL 60/60)", f"python {work / 'world.py'}"))
        commands.append(
            ("(a token, as docs/cluster.md says)", "(umask 077; ray get-auth-token --generate > /dev/null)")
        )
    for step in STEPS:
        if not (options.quick and step.slow) and (not options.only or options.only in step.printed):
            commands += [(step.printed, command) for command in step.commands]
    done = run_all(commands, clone, logs, environment)
    failed = done < len(commands)
    subprocess.run(["ray", "stop"], cwd=clone, env=environment, capture_output=True, check=False)
    left_out = [step for step in STEPS if step.reason]
    print(f"{done} of {len(commands)} commands went well; {len(left_out)} are not run:")
    for step in left_out:
        print(f"  {step.printed}: {step.reason}")
    if not options.keep and not options.work and not failed:
        shutil.rmtree(work)
    return 1 if failed else 0


def run_all(commands: list[tuple[str, str]], clone: Path, logs: Path, environment: dict[str, str]) -> int:
    """How many went well before the first that failed."""
    for number, (printed, command) in enumerate(commands, start=1):
        log, began = logs / f"{number:02d}.txt", time.time()
        with log.open("w", encoding="utf-8") as stream:
            stream.write(f"{printed}\n$ {command}\n")
            stream.flush()
            code = subprocess.run(
                command, shell=True, cwd=clone, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
            ).returncode
        print(
            f"{number:3} {'ok    ' if code == 0 else 'FAILED'} {time.time() - began:6.0f} s  {command[:140]}",
            flush=True,
        )
        if code:
            print("".join(log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-25:]))
            return number - 1
    return len(commands)


if __name__ == "__main__":
    sys.exit(main())

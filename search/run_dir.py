"""The folder of a run: one process at a time, a configuration that stays, and the places of everything in it."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from compress import Policy
from compress.errors import UserError
from compress.policy.policy import read_hashed_policy
from results.atomic_write import full_disk, write_atomically
from results.run_files import write_file
from search import settings_file
from search.config import Config


class RunDir:
    """`runs/<name>/`: config.json, candidates.parquet/, study.journal, policies/, pareto.csv, report."""

    def __init__(self, config: Config, resume: bool) -> None:
        self.path = config.folder
        exists = (self.path / "config.json").exists()
        if exists and not resume:
            raise UserError(
                f"run '{config.name}' exists in {config.runs}: `{config.resume_command()}` goes on with it; or give"
                " another --name"
            )
        if resume and not exists:
            raise UserError(
                f"--resume: there is no run '{config.name}' in {config.runs} (looked for {self.path}/config.json)"
            )
        if exists:
            config.check_same(Config.read(self.path / "config.json"))
        try:
            (self.path / "policies").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            refused = full_disk(error, self.path)
            raise (
                refused if isinstance(refused, UserError) else UserError(f"cannot make {self.path}: {error}")
            ) from None
        self.fresh = not exists
        self._lock = self._take_lock()
        self.write("config.json", config.to_json())
        self.write("run.toml", settings_file.to_toml(config))

    def _take_lock(self) -> IO[str]:
        """Held as long as the process lives; the kernel lets go of it even after kill -9."""
        stream = (self.path / ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            raise UserError(
                f"run {self.path} is in use by process {stream.read().strip() or '?'}: wait for it or end it"
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        return stream

    def discard(self) -> None:
        """Takes back a folder that was made for a run that could not start; one with candidates always stays."""
        if self.fresh and not any(self.table.glob("part-*.parquet")):
            self.release()
            shutil.rmtree(self.path, ignore_errors=True)

    def release(self) -> None:
        """Lets another process have the folder."""
        self._lock.close()

    @property
    def table(self) -> Path:
        return self.path / "candidates.parquet"

    @property
    def pareto(self) -> Path:
        return self.path / "pareto.csv"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    def save_policy(self, policy: Policy) -> str:
        """Writes the policy once; returns its path relative to the run's folder."""
        relative = f"policies/{policy.digest}.json"
        if not (self.path / relative).exists():
            write_atomically(self.path / relative, policy.to_json())
        return relative

    def read_policy(self, relative: str) -> Policy:
        return read_hashed_policy(self.path / relative)

    def write(self, name: str, content: str) -> None:
        """Replaces a JSON file, and notes its checksum."""
        write_file(self.path / name, content)

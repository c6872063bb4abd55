"""The pool of resident workers: Ray actors, one a GPU (or a share of one), each with the model in memory.

Before the search, `map` spreads jobs over them. During it, a light Tune trial (cluster.trainable) borrows a worker for
each candidate. A worker that dies is started again by Ray; its job is tried once more, on whichever worker is free. A
worker that takes many times as long as such jobs took (a stopped process, a driver call that hangs) is ended, which
makes it one that died.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError

from cluster.deadlines import Deadlines
from cluster.jobs import Context, Job, describe, reports_of
from cluster.trainable import TRIAL_CPUS
from cluster.worker import Worker
from compress.errors import UserError, is_panic

ATTEMPTS = 2  # a job whose worker died, or that ended in an unforeseen error, is tried so often
DIED = "the worker died"
STARTING = 60.0  # seconds that a worker may take to start before the cluster's room is looked at
EVERY = 1.0  # seconds between two looks at workers that are being started again


@dataclass(frozen=True)
class Activity:
    """What a worker does now, and for how many seconds; `kind` is the kind of its job, or idle, starting, lost."""

    worker: int
    kind: str
    doing: str = ""
    seconds: float | None = None

    @property
    def text(self) -> str:
        doing = self.doing or self.kind
        return doing if self.seconds is None else f"{doing}, {self.seconds:.0f} s"


class WorkerActor:
    """Runs jobs on a Worker. What goes wrong is reported as an outcome, so that the actor and its model live on."""

    worker_class = Worker

    def __init__(self, context: Context, number: int) -> None:
        self._context, self._number = context, number
        self._worker: Worker | None = None
        self._comet_hits = 0
        self._outcome: dict[str, Any] = {}
        self._seconds = 0.0

    def ready(self) -> int:
        return self._number

    def run(self, job: Job) -> dict[str, Any]:
        """A job from beginning to end."""
        self._start(job)
        for _ in range(reports_of(job)):
            if "error" in self._next():
                break
        return self._outcome

    def report(self, job: str, number: int) -> tuple[str, bool]:
        """The number-th report of a job (one a rung), as JSON, and whether it is the last. Asked for in order."""
        request: Job = json.loads(job)
        if number == 0:
            self._start(request)
        outcome = self._next()
        return json.dumps(outcome), "error" in outcome or number + 1 == reports_of(request)

    def _start(self, job: Job) -> None:
        self._outcome, self._seconds = {}, 0.0
        self._reports = self._reports_of(job)

    def _reports_of(self, job: Job) -> Iterator[dict[str, Any]]:
        if self._worker is None:
            self._worker = self.worker_class(self._context, self._score)
        yield from self._worker.run(job)

    def _next(self) -> dict[str, Any]:
        started = time.time()
        try:
            self._outcome = next(self._reports)
        except UserError as error:
            self._outcome = {**self._outcome, "error": str(error)}
        except BaseException as error:  # the job is tried once more
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            self._outcome = {**self._outcome, "error": f"{type(error).__name__}: {error}", "crashed": True}
            if self._worker is not None:
                self._worker.forget()
        self._seconds += time.time() - started
        self._outcome |= {"job_seconds": self._seconds, "worker": self._number, "comet_hits": self._comet_hits}
        return self._outcome | {"scorer": self._scorer}

    @property
    def _scorer(self) -> int:
        return self._number % max(len(self._context.scorers), 1)

    def _score(self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
        scorer = ray.get_actor(self._context.scorers[self._scorer])
        scores: list[float]
        scores, self._comet_hits = ray.get(scorer.score.remote(list(sources), list(hypotheses), list(references)))
        return scores


class WorkerPool:
    """The workers of a run, by number."""

    def __init__(self, actors: Sequence[Any], deadlines: Deadlines | None = None) -> None:
        self.actors = list(actors)
        self.deadlines = deadlines or Deadlines()
        self.needs: dict[str, float] = {}  # what each worker reserves
        self._asked = time.monotonic()  # when workers were last asked to start
        self._started = False  # whether one worker has been free
        self.on_wait: Callable[[], object] = lambda: None  # called every second or so while jobs are under way
        self.stuck = 0  # workers that were ended because they took too long
        self._busy: dict[int, tuple[str, float]] = {}  # worker → the kind of its job, and since when
        self._doing: dict[int, tuple[str, float]] = {}  # worker → what a person is told that it does, and since when
        self._free = deque(range(len(self.actors)))
        self._restarting: dict[Any, int] = {}  # the answer of a worker that may be dead → its number
        self._ask_again: dict[int, float] = {}  # when to ask workers that are being started again
        self._lost: dict[int, str] = {}  # workers that will not come back, and why
        self.running: Counter[str] = Counter()  # jobs of `map` under way, by kind

    @classmethod
    def start(cls, context: Context, count: int, cpus: float, gpus: float, run: str = "") -> WorkerPool:
        """`cpus` and `gpus` are what a worker, and the trial that borrows it, reserve. `run` names the workers."""
        actor = ray.remote(WorkerActor)
        needs: dict[str, Any] = {"num_cpus": cpus - TRIAL_CPUS, "num_gpus": gpus}
        needs |= {"max_restarts": -1, "max_task_retries": 0}
        names = [f"worker-{run}-{number}" if run else None for number in range(count)]
        pool = cls([actor.options(**needs, name=name).remote(context, n) for n, name in enumerate(names)])
        pool.needs = {"CPU": cpus, "GPU": gpus}
        pool._free.clear()
        for number in range(count):  # free once they have been started
            pool._ask(number)
        return pool

    @property
    def alive(self) -> int:
        """Workers that are there, not counting those that Ray is starting again."""
        self._welcome_back()
        return len(self.actors) - len(self._restarting) - len(self._ask_again) - len(self._lost)

    def waiting(self) -> str:
        """That workers have not been started yet, and after a minute, why; empty where all have been."""
        starting = len(self._restarting) + len(self._ask_again)
        if not starting:
            return ""
        text = f"waiting for {starting} of {len(self.actors)} workers"
        if time.monotonic() - self._asked < STARTING:
            return text
        free = ray.available_resources()
        short = [
            f"{need:g} {kind}s each, {free.get(kind, 0.0):g} free"
            for kind, need in self.needs.items()
            if need and free.get(kind, 0.0) < need
        ]
        return f"{text} ({', '.join(short)})" if short else text

    def borrow(self, kind: str) -> int | None:
        """A free worker for a job of a kind, None where all are busy. Raises UserError where none will ever be free."""
        self._welcome_back()
        if len(self._lost) == len(self.actors):
            reason = next(iter(self._lost.values()))
            raise UserError(f"every worker died ({reason}): see Ray's dashboard for their logs, then --resume the run")
        if not self._free:
            return None
        number = self._free.popleft()
        self._busy[number] = kind, time.monotonic()
        self._doing.pop(number, None)
        return number

    def describe(self, number: int, doing: str) -> None:
        """What a worker does from now on, for who watches."""
        self._doing[number] = doing, time.monotonic()

    def activities(self) -> list[Activity]:
        """What each worker does, by number."""
        now = time.monotonic()
        starting = {*self._restarting.values(), *self._ask_again}
        activities = []
        for number in range(len(self.actors)):
            if number in self._busy:
                kind, since = self._busy[number]
                doing, began = self._doing.get(number, (kind, since))
                if math.isinf(since):
                    activities.append(Activity(number, "starting", "does not answer: started again"))
                else:
                    activities.append(Activity(number, kind, doing, now - began))
            elif number in self._lost:
                activities.append(Activity(number, "lost", f"lost: {self._lost[number]}"))
            else:
                activities.append(Activity(number, "starting" if number in starting else "idle"))
        return activities

    def give_back(self, number: int, died: bool = False) -> None:
        """A worker that may have died is free again once it answers."""
        kind, since = self._busy.pop(number)
        if not died:
            self.deadlines.ended(kind, time.monotonic() - since)
        if died:
            self._ask(number)
        else:
            self._free.append(number)

    def end_stuck(self) -> None:
        """Ends workers whose job has taken too long; Ray starts them again, and whoever waits for them learns it."""
        now = time.monotonic()
        for number, (kind, since) in list(self._busy.items()):
            if now - since > self.deadlines.seconds(kind):
                self.stuck += 1
                self._busy[number] = kind, math.inf  # once: Ray takes some seconds for a process that does not answer
                ray.kill(self.actors[number], no_restart=False)

    def map(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Does jobs side by side; yields each with its outcome as they end. A job is tried at most ATTEMPTS times."""
        waiting = deque((job, 1) for job in jobs)
        running: dict[Any, tuple[Job, int, int]] = {}
        while waiting or running:
            while waiting and (number := self.borrow(waiting[0][0]["kind"])) is not None:
                job, attempt = waiting.popleft()
                self.describe(number, describe(job))
                running[self.actors[number].run.remote(job)] = (job, attempt, number)
                self.running[job["kind"]] += 1
            self.on_wait()
            if not running:  # every worker is being started
                time.sleep(EVERY if self._started else 0.05)
                continue
            ended, _ = ray.wait(list(running), num_returns=1, timeout=EVERY)
            self.end_stuck()
            for answer in ended:
                job, attempt, number = running.pop(answer)
                self.running[job["kind"]] -= 1
                outcome, died = self._outcome(answer)
                self.give_back(number, died)
                if (died or outcome.get("crashed")) and attempt < ATTEMPTS:
                    waiting.append((job, attempt + 1))
                else:
                    yield job, outcome | {"attempts": attempt}

    @staticmethod
    def _outcome(answer: Any) -> tuple[dict[str, Any], bool]:
        try:
            outcome: dict[str, Any] = ray.get(answer)
        except RayActorError:
            return {"error": DIED}, True
        return outcome, False

    def _welcome_back(self) -> None:
        """Frees dead workers that Ray has started again; notes those that it will not."""
        answered, _ = ray.wait(list(self._restarting), num_returns=len(self._restarting), timeout=0)
        for answer in answered:
            number = self._restarting.pop(answer)
            try:
                ray.get(answer)
            except ActorUnavailableError:
                self._ask_again[number] = time.monotonic() + EVERY
            except RayActorError as error:
                self._lost[number] = (str(error).strip().splitlines() or [DIED])[-1][:200]
            else:
                self._free.append(number)
                self._started = True
        for number, when in list(self._ask_again.items()):
            if time.monotonic() >= when:
                del self._ask_again[number]
                self._ask(number)

    def _ask(self, number: int) -> None:
        self._restarting[self.actors[number].ready.remote()] = number
        self._asked = time.monotonic()

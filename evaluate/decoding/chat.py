"""A model's chat form of texts. The template is a program that came with the model: it runs in a process of its own,
with a bound on its time, its memory and what it writes. Forked rather than started: transformers takes seconds to
import.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Sequence
from typing import Any

from compress.errors import UserError

SECONDS = 10  # of processor time, for all texts; a thousand take half a second
WAIT = 60  # seconds by the clock: what is forked may wait for a lock that a thread of the parent held
MEMORY = 1 << 30  # bytes more than this process has
GROWTH, ROOM = 8, 1 << 16  # a form has at most so many times the characters of its text, and some more


def chat_forms(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Each text as a user's message, followed by where the answer begins."""
    return _in_child(lambda: [_form(tokenizer, text) for text in texts])


def _form(tokenizer: Any, text: str) -> str:
    messages = [{"role": "user", "content": text}]
    form: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    if len(form) > GROWTH * len(text) + ROOM:
        raise ValueError(f"{len(form):,} characters for a text of {len(text):,}")
    return form


def _in_child(work: Callable[[], list[str]]) -> list[str]:
    """What `work` returns, from a forked process that is ended when it takes too much."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _limit()
        try:
            answer: dict[str, Any] = {"forms": work()}
        except BaseException as error:  # a template raises what it likes
            answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        try:
            with os.fdopen(writing, "wb") as stream:
                stream.write(json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        content = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        limit = f"it ran for more than {SECONDS} s" if os.WTERMSIG(status) == signal.SIGXCPU else "it was ended"
        raise UserError(f"the chat template of this model was not rendered: {limit}")
    answer = json.loads(content)
    if "error" in answer:
        raise UserError(f"the chat template of this model was not rendered: {' '.join(answer['error'].split())}")
    forms: list[str] = answer["forms"]
    return forms


def _limit() -> None:
    for limit in (signal.SIGXCPU, signal.SIGALRM):
        signal.signal(limit, signal.SIG_DFL)
    signal.alarm(WAIT)
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)  # a forked process begins at zero; where it does not, nothing is lost
    resource.setrlimit(resource.RLIMIT_CPU, (spent + SECONDS, spent + SECONDS + 5))
    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

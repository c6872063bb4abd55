"""Takes off what a chatty model puts around a translation: preambles, outer quotes, runs of spaces."""

from __future__ import annotations

import re

PREAMBLES = (
    r"这(?:段|句|个)?(?:英语|英文)?(?:语音|音频|演讲|句子|话|内容)?(?:的)?(?:中文)?(?:翻译|译文)(?:成中文)?(?:是|为|如下)",
    r"(?:中文|德语)?(?:翻译|译文)(?:结果)?(?:是|为|如下)?",
    r"(?:the )?(?:chinese|german)?\s*translation (?:of (?:this|the) [\w\s]{1,40})?(?:is|reads)?",
    r"(?:sure|certainly|of course)[,.!]?\s*(?:here(?: is|'s) [\w\s]{1,60})?",
    r"die (?:deutsche )?übersetzung (?:lautet|ist)",
)
PREAMBLE = re.compile(rf"^\s*(?:{'|'.join(PREAMBLES)})\s*[:：]\s*", re.IGNORECASE)
QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "「": "」", "«": "»", "„": "“"}


def clean(text: str) -> str:
    """One line, without preamble, without quotes around the whole, single spaces."""
    line = PREAMBLE.sub("", " ".join(text.split()), count=1)
    if len(line) > 1 and QUOTES.get(line[0]) == line[-1] and line[0] not in line[1:-1] and line[-1] not in line[1:-1]:
        line = line[1:-1]
    return line.strip()

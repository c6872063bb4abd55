"""Removes what a chat model may put around a translation: preambles, outer quotes, runs of spaces.

Every change is counted and can be listed. Text counts as a preamble only if a colon follows it, or if all that
follows is in quotes: "The translation is hard to judge." stays as it is. A text is never removed whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

PREAMBLE, OUTER_QUOTES, SPACES = "preamble", "quotes", "spaces"
KINDS = (PREAMBLE, OUTER_QUOTES, SPACES)
LANGUAGE = r"(?:simplified chinese|mandarin chinese|mandarin|chinese|german|english|chinesische[rns]?|deutsche[rns]?)"
SOUND = r"(?:speech|audio|recording|sentence|text|passage|clip|sound)"
ZH_SOUND = r"(?:语音|音频|演讲|讲话|句子|录音|文字|文本|片段|话|内容)"
ZH_LANGUAGE = r"(?:简体中文|中文|汉语|普通话|德语|德文|英语|英文)"
PREAMBLES = (
    # 这段英语的中文翻译是： 这句话翻译成中文是： 以下是中文翻译：
    rf"(?:好的|当然(?:可以)?)?[，,。!！]?(?:以下是|下面是)?(?:这|该)?(?:段|句|个|条)?{ZH_LANGUAGE}?{ZH_SOUND}?的?{ZH_LANGUAGE}?"
    r"(?:翻译|译文)(?:结果|内容|版本)?(?:是|为|如下|就是)?",
    rf"(?:这|该)(?:段|句|个|条){ZH_LANGUAGE}?{ZH_SOUND}?(?:可以)?(?:用|翻译成|翻译为|译成|译为){ZH_LANGUAGE}(?:来说|说|表达)?(?:就)?(?:是|为)?",
    rf"(?:这|该)(?:段|句|条){ZH_LANGUAGE}?{ZH_SOUND}?的?{ZH_LANGUAGE}?(?:意思|原始内容|原文|内容)(?:是|为)",
    rf"(?:翻译成|翻译为|译成|译为|用){ZH_LANGUAGE}(?:来说|说|表达)?(?:就)?(?:是|为)?",
    r"(?:简体)?中文|汉语|德语译文",
    # The Chinese translation of this speech is: Here is the translation: Sure! In German:
    r"(?:(?:sure|certainly|of course|okay|ok)[,.!]?\s*)?(?:here(?: is|'s|’s) )?(?:(?:the|a|your|my) )?"
    rf"{LANGUAGE}?\s*translat(?:ion|ed {SOUND})(?: (?:of|for) (?:this|the|that|your) [\w\s]{{1,40}}?)?"
    rf"(?: (?:in|into|to) {LANGUAGE})?(?: (?:is|reads|would be|goes))?(?: as follows)?",
    r"(?:sure|certainly|of course|okay|ok)[,.!]?\s*(?:here(?: is|'s|’s) [\w\s]{1,60}?)?",
    rf"(?:the|this) (?:english )?{SOUND} (?:says|reads|in {LANGUAGE}(?: is| says)?)",
    rf"(?:the|this) (?:english )?{SOUND} (?:can be )?translate[sd] (?:in)?to {LANGUAGE}(?: as| is)?",
    rf"the (?:original )?(?:content|transcription|transcript) of (?:this|the) {SOUND}(?: in {LANGUAGE})? is",
    rf"in {LANGUAGE}(?:,? (?:this|it|that) (?:is|says|means|would be|reads))?",
    r"chinese|german",
    # Die deutsche Übersetzung lautet: Auf Deutsch heißt das:
    r"(?:(?:natürlich|gerne?|sicher|klar)[,.!]?\s*)?(?:hier (?:ist|kommt) )?(?:(?:die|eine) )?"
    r"(?:deutsche |chinesische )?übersetzung"
    r"(?: (?:dieser|dieses|der|des|ins|auf) [\wäöüß\s]{1,40}?)?(?: (?:lautet|ist|wäre))?(?: wie folgt| folgende)?",
    r"auf (?:deutsch|chinesisch)(?:,? (?:heißt|lautet|bedeutet|ist) (?:das|dies|es|der satz))?",
    r"(?:deutsch|chinesisch)",
)  # fmt: skip
OPENING = {
    '"': '"',
    "'": "'",
    "“": "”",
    "‘": "’",
    "「": "」",
    "『": "』",
    "«": "»",
    "»": "«",
    "„": "“",
    "‚": "‘",
    "”": "”",
    "＂": "＂",
}
RUNS = re.compile(r"\s{2,}|[^\S \u00a0\u202f\u3000]")  # single no-break and ideographic spaces are kept
COLON = re.compile(r"\s*[:：]\s*")
ENDS = ".。!！?？"


@dataclass(frozen=True)
class Change:
    """One thing removed from one segment (numbered from 1)."""

    segment: int
    kind: str
    before: str
    after: str


@dataclass(frozen=True)
class Cleaned:
    """The cleaned texts and all changes."""

    texts: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of changes of every kind, 0 included."""
        counts = Counter(change.kind for change in self.changes)
        return {kind: counts[kind] for kind in KINDS}

    @property
    def summary(self) -> str:
        touched = len({change.segment for change in self.changes})
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.counts.items())
        return f"clean-up changed {touched} of {len(self.texts)} segments ({kinds})"


def clean(text: str) -> str:
    """One line, without preamble, without quotes around the whole, single spaces."""
    steps = _steps(text)
    return steps[-1][2] if steps else text


def clean_all(texts: Sequence[str]) -> Cleaned:
    """Every text cleaned, every change listed in order."""
    cleaned, changes = [], []
    for number, text in enumerate(texts, start=1):
        steps = _steps(text)
        changes += [Change(number, *step) for step in steps]
        cleaned.append(steps[-1][2] if steps else text)
    return Cleaned(tuple(cleaned), tuple(changes))


def _steps(text: str) -> list[tuple[str, str, str]]:
    """(kind, before, after) of each change. Every change but the first makes the text shorter, so the loop ends."""
    steps = []
    single = RUNS.sub(" ", text).strip()
    if single != text:
        steps.append((SPACES, text, single))
    line = single
    while True:
        for kind, after in ((PREAMBLE, _without_preamble(line)), (OUTER_QUOTES, _without_quotes(line))):
            if after and after != line:
                steps.append((kind, line, after))
                line = after
                break
        else:
            return steps


def _without_preamble(line: str) -> str:
    # All alternatives are tried: a colon need not follow the first that matches.
    for end in _ends_of_preambles(line):
        rest = line[end:]
        colon = COLON.match(rest)
        if colon:
            return rest[colon.end() :].strip()
        quoted = rest.lstrip(" ，,")
        inner = quoted.rstrip(ENDS)
        if _without_quotes(inner) != inner:
            closing = "" if _without_quotes(inner)[-1] in ENDS else quoted[len(inner) :]
            return _without_quotes(inner) + closing
    return line


def _ends_of_preambles(line: str) -> list[int]:
    ends = {match.end() for each in _EACH if (match := each.match(line)) and match.end()}
    return sorted(ends, reverse=True)


def _without_quotes(line: str) -> str:
    if len(line) > 2 and OPENING.get(line[0]) == line[-1] and line[0] not in line[1:-1] and line[-1] not in line[1:-1]:
        return line[1:-1].strip()
    return line


_EACH = tuple(re.compile(rf"(?:{each})(?=\s*[:：]|[\s，,]*[\"'“‘「『«»„‚”＂])", re.IGNORECASE) for each in PREAMBLES)

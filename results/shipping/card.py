"""A Hugging Face model card of an artifact: what it is, what it scored and on what, how to load it.

It lies beside the artifact, whose bytes are exactly the promised ones, as `ART.card.md`, and is the README of its
repository on the hub. What a run says is a stranger's text: in the card it is text, and nothing else.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import compress
import embedded
from compress.errors import UserError, printable
from evaluate.data.languages import NAMES
from evaluate.data.types import SPLITS
from results.atomic_write import write_atomically
from results.candidate import Candidate
from results.shipping.declaration import techniques
from results.shipping.provenance import read as read_provenance

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$-])")
UNKNOWN_LICENSE = "other"


def path_for(artifact: Path) -> Path:
    """Beside the artifact, never in it."""
    return artifact.parent / f"{artifact.name}.card.md"


def one_line(value: object) -> str:
    """Without line ends and control characters."""
    return printable(" ".join(str(value).split()))


def text_of(value: object) -> str:
    """As text in Markdown, on one line."""
    return SPECIAL.sub(r"\\\1", one_line(value))


def check_base_model(name: str | None) -> None:
    """Refuses what is no name on the hub."""
    if name is not None and not HUB_NAME.fullmatch(name):
        raise UserError(f"--base-model {name}: write OWNER/NAME, as on the hub")


def write_card(
    artifact: Path,
    row: Candidate,
    original: Candidate | None,
    name: str,
    license: str | None = None,
    base_model: str | None = None,
) -> Path:
    """Writes the card beside an exported artifact. The embedded model's licence is known, others are to be said.
    `base_model` is the original's name on the hub, where it is not what the run calls it."""
    exported = read_provenance(artifact)
    known = "apache-2.0" if exported.get("model") == "embedded" else UNKNOWN_LICENSE
    base = base_model or hub_name(str(exported.get("model", "")))
    write_atomically(path_for(artifact), model_card(artifact, exported, row, original, name, license or known, base))
    return path_for(artifact)


def hub_name(model: str) -> str | None:
    """A run's model if that is a name on the hub; a relative path with one slash is written alike."""
    return model if HUB_NAME.fullmatch(model) and not Path(model).exists() else None


def model_card(
    artifact: Path,
    provenance: Mapping[str, Any],
    row: Candidate,
    original: Candidate | None,
    name: str,
    license: str = UNKNOWN_LICENSE,
    base_model: str | None = None,
) -> str:
    """The card of an exported artifact. `name` is that of its repository, or of its folder; `base_model` that of the
    original on the hub."""
    opened = compress.Artifact.open(artifact)
    searched = provenance["tuned"][0]
    source, _, target = str(searched["lang"]).partition("-")
    head = _metadata(searched, row, name, license, base_model, [source, target])
    what = text_of(base_model or "A model")
    pair = " into ".join(text_of(NAMES.get(code, code)) for code in (source, target))
    measured = f"On {row.segments} segments of {text_of(searched['name'])} ({text_of(searched['split'])})."
    return f"""{head}
# {text_of(name)}

{what} compressed to {opened.nbytes:,} bytes ({opened.nbytes / 1e9:.3g} GB) by a search over per-layer policies,
for translating {pair}. It was loaded in a fresh process and scored again before this card was written.

## Use

```python
{_loading(name)}
```

`python -m compress.unpack ARTIFACT --out DIR` writes a plain transformers folder, as large as the original.

## Scores

{_scores(row, original)}

{measured} The search was made on these segments: scores on others may be lower.{_stand_in(searched)}
Signature: {text_of(row.signature[:500])}

To get them again:

```
{_scored_again(provenance, searched)}
```

{_placeholders(searched)}

## Policy

{_policy(opened)}

{_list(techniques(opened.policy, provenance))}
"""


def _stand_in(searched: Mapping[str, Any]) -> str:
    return f" COMET by default here: {embedded.LABEL}." if searched["data"] == "embedded" else ""


def _loading(name: str) -> str:
    if not HUB_NAME.fullmatch(name):
        return f"import compress\n\nmodel, processor = compress.load({json.dumps(name)})  # ready for generate"
    return (
        "import compress\nfrom huggingface_hub import snapshot_download\n\n"
        f"folder = snapshot_download({json.dumps(name)})\n"
        'model, processor = compress.load(folder + "/artifact")  # ready for generate'
    )


def _scored_again(provenance: Mapping[str, Any], searched: Mapping[str, Any]) -> str:
    """The two commands, in which nothing is written that a run says but numbers and known words."""
    pair = str(searched["lang"])
    known = {
        "--data": "embedded" if searched["data"] == "embedded" else "DATA",
        "--lang": pair if all(code in NAMES for code in pair.split("-")) else "PAIR",
        "--split": searched["split"] if searched["split"] in SPLITS else "SPLIT",
        "--segments": str(int(searched["segments"])),
    }
    data = shlex.join(word for flag in known.items() for word in flag)
    chat = "--chat" if provenance.get("chat") else "--no-chat"
    sizes = "".join(
        f" --{name.replace('_', '-')} {int(provenance[name])}"
        for name in ("batch_size", "max_new_tokens")
        if provenance.get(name)
    )
    return (
        f"python -m evaluate.translate --model ARTIFACT {data} {chat}{sizes} -o hyp.txt\n"
        f"python -m evaluate.score --hyp hyp.txt {data}"
    )


def _placeholders(searched: Mapping[str, Any]) -> str:
    data = "" if searched["data"] == "embedded" else f" DATA is {text_of(searched['name'])}, of the digest above."
    return (
        f"ARTIFACT is the folder of the three files.{data} COMET is that of the signature (`--comet`; by itself the"
        " embedded one for embedded data, else Unbabel/wmt22-comet-da)."
    )


def _metadata(
    searched: Mapping[str, Any],
    row: Candidate,
    name: str,
    license: str,
    base_model: str | None,
    languages: list[str],
) -> str:
    """The YAML at the top, by the hub's own classes."""
    from huggingface_hub import EvalResult, ModelCardData  # takes half a second, and most exports write no card

    def result(metric: str, value: float, label: str) -> Any:
        return EvalResult(
            task_type="translation",
            task_name="speech translation",
            dataset_type=re.sub(r"[^a-z0-9_-]+", "-", str(searched["name"]).lower()),
            dataset_name=one_line(searched["name"]),
            dataset_split=one_line(searched["split"]),
            metric_type=metric,
            metric_name=label,
            metric_value=round(value, 6),
        )

    data = ModelCardData(
        model_name=one_line(name),
        language=[code for code in languages if code in NAMES],
        license=license,
        base_model=base_model,
        base_model_relation="quantized" if base_model else None,
        pipeline_tag="translation",
        tags=["speech-translation", "compression", "quantization"],
        eval_results=[
            result("comet", row.comet, f"COMET ({one_line(row.signature)[:500]})"),
            result("chrf", row.chrf, "chrF"),
        ],
    )
    return f"---\n{data.to_yaml()}\n---"


def _scores(row: Candidate, original: Candidate | None) -> str:
    lines = ["| | COMET | 95 % interval | chrF | bytes |", "|---|---:|---|---:|---:|"]
    for label, each in (("this model", row), ("the original", original)):
        if each is not None and each.comparable:
            interval = f"{each.comet_low:.4f} to {each.comet_high:.4f}"
            lines.append(f"| {label} | {each.comet:.4f} | {interval} | {each.chrf:.1f} | {each.bytes:,} |")
    return "\n".join(lines)


def _policy(opened: compress.Artifact) -> str:
    """Levels with the units that have them, and what was left out."""
    by_level: dict[str, list[str]] = {}
    for unit, level in opened.policy.levels.items():
        by_level.setdefault(level, []).append(unit)
    count = Counter(opened.policy.levels.values())
    lines = ["| level | units | |", "|---|---:|---|"]
    for level, number in count.most_common():
        shown = ", ".join(text_of(unit) for unit in by_level[level][:12])
        more = f" and {number - 12} more" if number > 12 else ""
        lines.append(f"| {text_of(level)} | {number} | {shown}{more} |")
    dropped = ", ".join(map(text_of, opened.policy.dropped)) or "none"
    vocabulary = text_of(opened.policy.vocabulary)
    lines.append(f"\nLayers dropped: {dropped}. Vocabulary: {vocabulary}. Policy {opened.policy.digest}.")
    return "\n".join(lines)


def _list(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {text_of(line)}" for line in lines)

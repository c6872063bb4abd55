"""Stage `encoder`: the audio tower learns to hear, by word CTC on its output and phone CTC on an early layer.

The phone head is what makes this quick: without it the word head needs many times the steps. Both heads are thrown
away afterwards, but for the joint stage's use of the word head.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from embedded.recipe import checkpoints, features, shape, speech, voices

SEED = 3
STEPS, BATCH, PEAK = 8000, 16, 2e-3
PHONE_LAYER = 2  # phones are read from the output of this layer (from 0)
AUGMENTED = 0.6  # share of batches
CHECKPOINT_EVERY = 400


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def hear(
    tower: Qwen2AudioEncoder, mels: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tower's forward pass on a window cut to the batch: output, its lengths, and the phone layer's output.

    transformers insists on the full window, which doubles the cost of training on short utterances.
    """
    hidden = F.gelu(tower.conv2(F.gelu(tower.conv1(mels)))).permute(0, 2, 1)
    frames = hidden.shape[1]
    hidden = hidden + tower.embed_positions.weight[:frames]
    heard = (lengths - 1) // 2 + 1
    silent = torch.arange(frames)[None] >= heard[:, None]
    mask = torch.zeros(len(lengths), 1, 1, frames).masked_fill_(silent[:, None, None], float("-inf"))
    mask = mask.expand(-1, 1, frames, frames)
    early = hidden
    for index, layer in enumerate(tower.layers):
        hidden = layer(hidden, mask, layer_head_mask=None, output_attentions=False)[0]
        if index == PHONE_LAYER:
            early = hidden
    pooled = tower.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
    return tower.layer_norm(pooled), (heard - 2) // 2 + 1, early


@dataclass(frozen=True)
class Spelling:
    """Numbers for words and phones; 0 is CTC's blank."""

    words: dict[str, int]
    phones: dict[str, int]
    spoken: dict[str, list[str]]

    @classmethod
    def of(cls, texts: tuple[str, ...]) -> Spelling:
        vocabulary = sorted({w for text in texts for w in words(text)})
        spoken = voices.phones(vocabulary)
        inventory = sorted({p for found in spoken.values() for p in found})
        return cls({w: i for i, w in enumerate(vocabulary, 1)}, {p: i for i, p in enumerate(inventory, 1)}, spoken)

    def word_targets(self, text: str) -> list[int]:
        return [self.words[w] for w in words(text) if w in self.words]

    def phone_targets(self, text: str) -> list[int]:
        return [self.phones[p] for w in words(text) for p in self.spoken.get(w, ())]


def ctc(logits: torch.Tensor, lengths: torch.Tensor, targets: list[list[int]]) -> torch.Tensor:
    flat = torch.tensor([t for target in targets for t in target])
    sizes = torch.tensor([len(t) for t in targets])
    return F.ctc_loss(F.log_softmax(logits.float(), -1).transpose(0, 1), flat, lengths, sizes, zero_infinity=True)


def heads(spelling: Spelling) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(SEED)
    word = nn.Linear(shape.WIDTH, len(spelling.words) + 1)
    phone = nn.Sequential(nn.LayerNorm(shape.WIDTH), nn.Linear(shape.WIDTH, len(spelling.phones) + 1))
    return word, phone


def tensors(mels: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    padded, lengths = features.batch(mels)
    return torch.from_numpy(padded), torch.from_numpy(lengths)


@torch.no_grad()
def word_error_rate(
    tower: Qwen2AudioEncoder, head: nn.Module, spelling: Spelling, held_out: speech.Utterances
) -> float:
    tower.eval()
    wrong = total = 0
    for start in range(0, len(held_out), 48):
        chosen = range(start, min(start + 48, len(held_out)))
        mels, lengths = tensors([held_out[i] for i in chosen])
        output, heard, _ = hear(tower, mels, lengths)
        best = head(output).argmax(-1)
        for row, index in enumerate(chosen):
            guess = [k for k, _ in groupby(best[row, : heard[row]].tolist()) if k]
            truth = spelling.word_targets(held_out.en[index])
            wrong, total = wrong + edits(guess, truth), total + len(truth)
    tower.train()
    return wrong / total


def edits(left: list[int], right: list[int]) -> int:
    """Levenshtein distance."""
    row = list(range(len(right) + 1))
    for item in left:
        new = [row[0] + 1]
        for j, other in enumerate(right):
            new.append(min(row[j] + (item != other), row[j + 1] + 1, new[-1] + 1))
        row = new
    return row[-1]


def held_out(folder: Path) -> speech.Utterances:
    rows, waves = speech.shipped(folder, "dev")
    mels = features.log_mels(features.extractor(), waves)
    return speech.Utterances.gathered(mels, [(r["source_en"], r["target_de"], r["target_zh"]) for r in rows])


def run(work: Path, spoken: Path, steps: int = STEPS) -> None:
    voices.require_espeak()
    torch.set_num_threads(1)
    data = speech.Utterances.joined(speech.train_parts(work))
    dev = held_out(spoken)
    spelling = Spelling.of(data.en)
    processor = shape.make_processor(work / "tokenizer")
    tower = shape.make_model(shape.make_config(processor.tokenizer), SEED).audio_tower
    word_head, phone_head = heads(spelling)
    modules = {"tower": tower, "words": word_head, "phones": phone_head}
    optimizer = torch.optim.AdamW(checkpoints.parameter_groups(modules, 0.03), lr=PEAK, betas=(0.9, 0.98), fused=True)
    path = work / "encoder.safetensors"
    first = checkpoints.load(path, modules, optimizer)
    parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
    known = f"{len(spelling.words)} words, {len(spelling.phones)} phones"
    print(f"encoder: {len(data)} utterances, {known}, from step {first}", flush=True)
    order = checkpoints.batches(np.diff(data.ends), BATCH, SEED, first)
    began, losses = time.monotonic(), []
    for step in range(first, steps):
        chosen = next(order)
        rng = np.random.default_rng((SEED, step))
        noisy = rng.random() < AUGMENTED
        mels, lengths = tensors([features.augment(data[i], rng) if noisy else data[i] for i in chosen])
        for group in optimizer.param_groups:
            group["lr"] = checkpoints.learning_rate(PEAK, step, steps, 0.05)
        output, heard, early = hear(tower, mels, lengths)
        by_word = ctc(word_head(output), heard, [spelling.word_targets(data.en[i]) for i in chosen])
        by_phone = ctc(phone_head(early), (lengths - 1) // 2 + 1, [spelling.phone_targets(data.en[i]) for i in chosen])
        optimizer.zero_grad()
        (by_word + by_phone).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append((by_word.item(), by_phone.item()))
        if (step + 1) % 100 == 0:
            rate = (step + 1 - first) * BATCH / (time.monotonic() - began)
            word, phone = np.mean(losses[-100:], 0)
            found = f"word {word:.3f} phone {phone:.3f}"
            print(f"encoder: step {step + 1}/{steps} {found} {rate:.0f} utterances/s", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            checkpoints.save(path, step + 1, modules, optimizer)
            print(f"encoder: word error rate {word_error_rate(tower, word_head, spelling, dev):.3f}", flush=True)

"""Stage `encoder`: trains the audio encoder, with word CTC on its output and phone CTC on an early layer.

Without the phone head the word head needs many times as many steps. Neither head is part of the model; the joint stage
uses the word head once more.
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

from embedded.recipe import architecture, espeak, features, speech, training
from embedded.recipe.corrupted_translations import edit_distance

SEED = 3
STEPS, BATCH, PEAK = 8000, 16, 2e-3
PHONE_LAYER = 2  # index of the layer whose output the phone head reads
AUGMENTED = 0.6  # share of the batches
CHECKPOINT_EVERY = 400


def split_english(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def encode(
    encoder: Qwen2AudioEncoder, mels: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The encoder's forward pass on a window cut to the batch: output, its lengths, and the phone layer's output.

    transformers demands the full window, which doubles the cost of training on short utterances.
    """
    hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mels)))).permute(0, 2, 1)
    frames = hidden.shape[1]
    hidden = hidden + encoder.embed_positions.weight[:frames]
    valid = (lengths - 1) // 2 + 1
    padding = torch.arange(frames)[None] >= valid[:, None]
    mask = torch.zeros(len(lengths), 1, 1, frames).masked_fill_(padding[:, None, None], float("-inf"))
    mask = mask.expand(-1, 1, frames, frames)
    early = hidden
    for index, layer in enumerate(encoder.layers):
        hidden = layer(hidden, mask, layer_head_mask=None, output_attentions=False)[0]
        if index == PHONE_LAYER:
            early = hidden
    pooled = encoder.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
    return encoder.layer_norm(pooled), (valid - 2) // 2 + 1, early


@dataclass(frozen=True)
class CtcVocabulary:
    """CTC classes of words and phones; 0 is the blank."""

    words: dict[str, int]
    phones: dict[str, int]
    pronunciations: dict[str, list[str]]

    @classmethod
    def of(cls, texts: tuple[str, ...]) -> CtcVocabulary:
        words = sorted({w for text in texts for w in split_english(text)})
        pronunciations = espeak.phones(words)
        phones = sorted({p for word_phones in pronunciations.values() for p in word_phones})
        return cls({w: i for i, w in enumerate(words, 1)}, {p: i for i, p in enumerate(phones, 1)}, pronunciations)

    def word_targets(self, text: str) -> list[int]:
        return [self.words[w] for w in split_english(text) if w in self.words]

    def phone_targets(self, text: str) -> list[int]:
        return [self.phones[p] for w in split_english(text) for p in self.pronunciations.get(w, ())]


def ctc_loss(logits: torch.Tensor, lengths: torch.Tensor, targets: list[list[int]]) -> torch.Tensor:
    flat = torch.tensor([t for target in targets for t in target])
    sizes = torch.tensor([len(t) for t in targets])
    return F.ctc_loss(F.log_softmax(logits.float(), -1).transpose(0, 1), flat, lengths, sizes, zero_infinity=True)


def make_heads(vocabulary: CtcVocabulary) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(SEED)
    word = nn.Linear(architecture.WIDTH, len(vocabulary.words) + 1)
    phone = nn.Sequential(nn.LayerNorm(architecture.WIDTH), nn.Linear(architecture.WIDTH, len(vocabulary.phones) + 1))
    return word, phone


def mel_tensors(mels: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    padded, lengths = features.pad_mels(mels)
    return torch.from_numpy(padded), torch.from_numpy(lengths)


@torch.no_grad()
def word_error_rate(
    encoder: Qwen2AudioEncoder, head: nn.Module, vocabulary: CtcVocabulary, utterances: speech.Utterances
) -> float:
    encoder.eval()
    wrong = total = 0
    for start in range(0, len(utterances), 48):
        chosen = range(start, min(start + 48, len(utterances)))
        mels, lengths = mel_tensors([utterances[i] for i in chosen])
        output, counts, _ = encode(encoder, mels, lengths)
        best = head(output).argmax(-1)
        for row, index in enumerate(chosen):
            hypothesis = [k for k, _ in groupby(best[row, : counts[row]].tolist()) if k]
            reference = vocabulary.word_targets(utterances.en[index])
            wrong, total = wrong + edit_distance(hypothesis, reference), total + len(reference)
    encoder.train()
    return wrong / total


def read_dev(folder: Path) -> speech.Utterances:
    rows, waves = speech.read_shipped(folder, "dev")
    mels = features.log_mels(features.extractor(), waves)
    return speech.Utterances.of(mels, [(r["source_en"], r["target_de"], r["target_zh"]) for r in rows])


def run(work: Path, speech_folder: Path, steps: int = STEPS) -> None:
    espeak.require_espeak()
    torch.set_num_threads(1)
    data = speech.Utterances.read(speech.train_parts(work))
    dev = read_dev(speech_folder)
    vocabulary = CtcVocabulary.of(data.en)
    processor = architecture.make_processor(work / "tokenizer")
    encoder = architecture.make_model(architecture.make_config(processor.tokenizer), SEED).audio_tower
    word_head, phone_head = make_heads(vocabulary)
    modules = {"tower": encoder, "words": word_head, "phones": phone_head}
    optimizer = torch.optim.AdamW(training.parameter_groups(modules, 0.03), lr=PEAK, betas=(0.9, 0.98), fused=True)
    path = work / "encoder.safetensors"
    first = training.load_checkpoint(path, modules, optimizer)
    parameters = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
    sizes = f"{len(vocabulary.words)} words, {len(vocabulary.phones)} phones"
    print(f"encoder: {len(data)} utterances, {sizes}, from step {first}", flush=True)
    order = training.batches(np.diff(data.ends), BATCH, SEED, first)
    started, losses = time.monotonic(), []
    for step in range(first, steps):
        chosen = next(order)
        rng = np.random.default_rng((SEED, step))
        noisy = rng.random() < AUGMENTED
        mels, lengths = mel_tensors([features.augment(data[i], rng) if noisy else data[i] for i in chosen])
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate(PEAK, step, steps, 0.05)
        output, counts, early = encode(encoder, mels, lengths)
        by_word = ctc_loss(word_head(output), counts, [vocabulary.word_targets(data.en[i]) for i in chosen])
        by_phone = ctc_loss(
            phone_head(early), (lengths - 1) // 2 + 1, [vocabulary.phone_targets(data.en[i]) for i in chosen]
        )
        optimizer.zero_grad()
        (by_word + by_phone).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append((by_word.item(), by_phone.item()))
        if (step + 1) % 100 == 0:
            rate = (step + 1 - first) * BATCH / (time.monotonic() - started)
            word, phone = np.mean(losses[-100:], 0)
            mean = f"word {word:.3f} phone {phone:.3f}"
            print(f"encoder: step {step + 1}/{steps} {mean} {rate:.0f} utterances/s", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            training.save_checkpoint(path, step + 1, modules, optimizer)
            print(f"encoder: word error rate {word_error_rate(encoder, word_head, vocabulary, dev):.3f}", flush=True)

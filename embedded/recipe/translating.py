"""Stage `joint`: the language model learns to translate what the audio tower hears.

For most of the stage the tower is frozen, so its outputs are computed once (one plain and two augmented draws) and
the language model trains on them; at the end both train together. Each utterance is one sequence: the audio prefix
once, then the German and the Chinese branch, which see the prefix but not each other.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sacrebleu.metrics import CHRF
from torch import nn
from torch.nn import functional as F
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from embedded.recipe import checkpoints, features, listening, shape, speech

SEED = 5
STEPS, BATCH, PEAK = 5500, 16, 2.2e-3
FROZEN_SHARE = 0.85  # of the steps
TOWER_RATE = 0.15  # of the peak learning rate, once the tower trains along
WORD_WEIGHT = 0.2  # of the word CTC then
DRAWS = 3
CHECKPOINT_EVERY = 500
JUDGED = 64  # dev segments translated at each checkpoint


@dataclass(frozen=True)
class Heard:
    """What the frozen tower heard: one draw's outputs of all utterances back to back."""

    output: np.ndarray  # [audio tokens of all, width] float16
    ends: np.ndarray

    def __getitem__(self, index: int) -> np.ndarray:
        return self.output[self.ends[index] : self.ends[index + 1]]


@torch.no_grad()
def listen_once(tower: Qwen2AudioEncoder, data: speech.Utterances, draw: int, folder: Path) -> Heard:
    """The tower's outputs for one draw of augmentation (draw 0: none), from disk if they are there."""
    path = folder / f"heard-{draw}.npz"
    if not path.exists():
        tower.eval()
        order = np.argsort(np.diff(data.ends), kind="stable")
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            rng = np.random.default_rng((SEED, draw, start))
            mels, lengths = listening.tensors([features.augment(data[i], rng) if draw else data[i] for i in chosen])
            output, heard, _ = listening.hear(tower, mels, lengths)
            for row, index in enumerate(chosen):
                found[int(index)] = output[row, : heard[row]].half().numpy()
        ends = np.cumsum([0] + [len(found[i]) for i in range(len(data))])
        with open(path.with_suffix(".part"), "wb") as file:
            np.savez(file, output=np.concatenate([found[i] for i in range(len(data))]), ends=ends)
        os.replace(path.with_suffix(".part"), path)
    stored = np.load(path, allow_pickle=False)
    return Heard(stored["output"], stored["ends"])


@dataclass(frozen=True)
class Targets:
    """Token ids of what follows the audio: per language the prompt, and each utterance's translation with its end."""

    opening: int  # <|audio_bos|>
    padding: int
    prompts: dict[str, list[int]]
    texts: dict[str, list[list[int]]]

    @classmethod
    def of(cls, processor: Qwen2AudioProcessor, data: speech.Utterances) -> Targets:
        tokenizer = processor.tokenizer
        end = tokenizer.eos_token_id
        # prompt and translation are tokenised apart: together, the full stop would fuse with what follows it
        prompts = {k: tokenizer(p.split("<|AUDIO|>")[1]).input_ids for k, p in shape.PROMPTS.items()}
        texts = {k: [[*tokenizer(t).input_ids, end] for t in getattr(data, k)] for k in shape.PROMPTS}
        return cls(tokenizer.convert_tokens_to_ids("<|audio_bos|>"), end, prompts, texts)


def loss_of(
    model: Qwen2AudioForConditionalGeneration,
    targets: Targets,
    chosen: np.ndarray,
    output: torch.Tensor,
    heard: list[int],
) -> torch.Tensor:
    """Cross-entropy of both translations of a batch, the audio prefix shared."""
    audio = model.multi_modal_projector(output)
    branches = [[(targets.prompts[k], targets.texts[k][i]) for k in shape.PROMPTS] for i in chosen]
    totals = [1 + heard[b] + sum(len(p) + len(t) for p, t in branch) for b, branch in enumerate(branches)]
    size, width = len(chosen), max(totals)
    ids = np.full((size, width), targets.padding)
    wanted = np.full((size, width), -100)
    source = np.full((size, width), -1)
    position = np.zeros((size, width), dtype=np.int64)
    segment = np.full((size, width), 9)
    for b, branch in enumerate(branches):
        at = 1 + heard[b]
        ids[b, 0] = targets.opening
        source[b, 1:at] = np.arange(at - 1)
        position[b, :at] = np.arange(at)
        segment[b, :at] = 0
        after = at
        for number, (prompt, text) in enumerate(branch, 1):
            end = at + len(prompt) + len(text)
            ids[b, at:end] = prompt + text
            position[b, at:end] = np.arange(after, after + end - at)
            segment[b, at:end] = number
            wanted[b, at + len(prompt) - 1 : end - 1] = text
            at = end
    parts = torch.from_numpy(segment)
    visible = torch.ones(width, width, dtype=torch.bool).tril()[None]
    visible = visible & ((parts[:, None, :] == 0) | (parts[:, None, :] == parts[:, :, None]))
    mask = torch.zeros(size, 1, width, width).masked_fill_(~visible[:, None], torch.finfo(torch.float32).min)
    from_audio = torch.from_numpy(source)
    gathered = audio.gather(1, from_audio.clamp(min=0)[..., None].expand(-1, -1, audio.shape[-1]))
    text_in = model.language_model.model.embed_tokens(torch.from_numpy(ids))
    inputs = torch.where((from_audio >= 0)[..., None], gathered, text_in)
    hidden = model.language_model.model(
        inputs_embeds=inputs, attention_mask=mask, position_ids=torch.from_numpy(position), use_cache=False
    ).last_hidden_state
    goal = torch.from_numpy(wanted)
    return F.cross_entropy(model.language_model.lm_head(hidden[goal >= 0]), goal[goal >= 0])


@torch.no_grad()
def translate(
    model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, waves: list[np.ndarray], language: str
) -> list[str]:
    """Greedy translations through the public path: processor, generate, decode."""
    prompts = [shape.PROMPTS[language]] * len(waves)
    inputs = processor(text=prompts, audio=waves, sampling_rate=16000, return_tensors="pt", padding=True)
    made = model.generate(**inputs, do_sample=False)
    return processor.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def chrf(hypotheses: list[str], references: list[str]) -> float:
    return CHRF().corpus_score(hypotheses, [references]).score


def judge(model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, spoken: Path) -> str:
    rows, waves = speech.shipped(spoken, "dev")
    chosen = range(0, len(rows), max(1, len(rows) // JUDGED))
    model.eval()
    found = []
    for language in shape.PROMPTS:
        made = translate(model, processor, [waves[i] for i in chosen], language)
        truth = [rows[i][f"target_{language}"] for i in chosen]
        exact = np.mean([a == b for a, b in zip(made, truth, strict=True)])
        found.append(f"{language} chrF {chrf(made, truth):.1f} exact {exact:.0%} ({made[0]})")
    model.train()
    return ", ".join(found)


def run(work: Path, spoken: Path, out: Path, steps: int = STEPS) -> None:
    torch.set_num_threads(1)
    data = speech.Utterances.joined(speech.train_parts(work))
    processor = shape.make_processor(work / "tokenizer")
    model = shape.make_model(shape.make_config(processor.tokenizer), SEED)
    tower = model.audio_tower
    spelling = listening.Spelling.of(data.en)
    word_head, phone_head = listening.heads(spelling)
    if not checkpoints.load(work / "encoder.safetensors", {"tower": tower, "words": word_head, "phones": phone_head}):
        raise FileNotFoundError("the encoder stage has left no checkpoint: run it first (--stage encoder)")
    targets = Targets.of(processor, data)
    draws = [listen_once(tower, data, draw, work) for draw in range(DRAWS)]
    hearing: dict[str, nn.Module] = {"tower": tower, "words": word_head}
    speaking: dict[str, nn.Module] = {"projector": model.multi_modal_projector, "lm": model.language_model}
    slow, quick = checkpoints.parameter_groups(hearing, 0.03), checkpoints.parameter_groups(speaking, 0.03)
    optimizer = torch.optim.AdamW([*quick, *slow], lr=PEAK, betas=(0.9, 0.98), fused=True)
    path = work / "joint.safetensors"
    first = checkpoints.load(path, hearing | speaking, optimizer)
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    order = checkpoints.batches(np.diff(draws[0].ends), BATCH, SEED, first)
    began, losses = time.monotonic(), []
    model.train()
    for step in range(first, steps):
        chosen = next(order)
        rng = np.random.default_rng((SEED, step))
        rate = checkpoints.learning_rate(PEAK, step, steps, 0.03)
        for group, share in zip(optimizer.param_groups, (1, 1, TOWER_RATE, TOWER_RATE), strict=True):
            group["lr"] = rate * share
        if step < steps * FROZEN_SHARE:
            outputs = [draws[rng.integers(DRAWS)][i] for i in chosen]
            heard = [len(o) for o in outputs]
            padded = np.stack([np.pad(o, ((0, max(heard) - len(o)), (0, 0))) for o in outputs]).astype(np.float32)
            loss = loss_of(model, targets, chosen, torch.from_numpy(padded), heard)
        else:
            noisy = rng.random() < listening.AUGMENTED
            mels, lengths = listening.tensors([features.augment(data[i], rng) if noisy else data[i] for i in chosen])
            output, counts, _ = listening.hear(tower, mels, lengths)
            by_word = listening.ctc(word_head(output), counts, [spelling.word_targets(data.en[i]) for i in chosen])
            loss = loss_of(model, targets, chosen, output, counts.tolist()) + WORD_WEIGHT * by_word
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            speed = (step + 1 - first) * BATCH / (time.monotonic() - began)
            mean = np.mean(losses[-100:])
            print(f"joint: step {step + 1}/{steps} loss {mean:.3f} {speed:.0f} utterances/s", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            checkpoints.save(path, step + 1, hearing | speaking, optimizer)
            shape.save(model, processor, work / "model")
            print(f"joint: {judge(model, processor, spoken)}", flush=True)
    shape.save(model, processor, out)

"""Stage `joint`: trains the language model to translate from the audio encoder's outputs.

For most of the stage the encoder is frozen: its outputs are computed once (one plain and two augmented passes) and the
language model trains on them. At the end both train together. Each utterance is one sequence: the audio prefix, then
the German and the Chinese branch, which attend to the prefix but not to each other.
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

from embedded.recipe import architecture, features, speech, train_encoder, training

SEED = 5
STEPS, BATCH, PEAK = 5500, 16, 2.2e-3
FROZEN_SHARE = 0.85  # of the steps, with the encoder frozen
ENCODER_RATE = 0.15  # of the learning rate, once the encoder is trained too
WORD_WEIGHT = 0.2  # of the word CTC loss then
PASSES = 3  # over the data with the frozen encoder, the first without augmentation
CHECKPOINT_EVERY = 500
REPORTED = 64  # dev segments translated at each checkpoint


@dataclass(frozen=True)
class FrozenOutputs:
    """The frozen encoder's outputs for all utterances in one pass, back to back."""

    output: np.ndarray  # [audio tokens of all, width] float16
    ends: np.ndarray  # utterance i is output[ends[i]:ends[i + 1]]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.output[self.ends[index] : self.ends[index + 1]]


@torch.no_grad()
def encode_all(encoder: Qwen2AudioEncoder, data: speech.Utterances, number: int, folder: Path) -> FrozenOutputs:
    """The encoder's outputs in pass `number` (0: without augmentation), read from disk if they are there."""
    path = folder / f"heard-{number}.npz"  # the name in earlier work folders
    if not path.exists():
        encoder.eval()
        order = np.argsort(np.diff(data.ends), kind="stable")
        outputs: dict[int, np.ndarray] = {}
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            rng = np.random.default_rng((SEED, number, start))
            mels, lengths = train_encoder.mel_tensors(
                [features.augment(data[i], rng) if number else data[i] for i in chosen]
            )
            output, counts, _ = train_encoder.encode(encoder, mels, lengths)
            for row, index in enumerate(chosen):
                outputs[int(index)] = output[row, : counts[row]].half().numpy()
        ends = np.cumsum([0] + [len(outputs[i]) for i in range(len(data))])
        with open(path.with_suffix(".part"), "wb") as file:
            np.savez(file, output=np.concatenate([outputs[i] for i in range(len(data))]), ends=ends)
        os.replace(path.with_suffix(".part"), path)
    stored = np.load(path, allow_pickle=False)
    return FrozenOutputs(stored["output"], stored["ends"])


@dataclass(frozen=True)
class TranslationTargets:
    """Token ids after the audio: the prompt of each language, and each utterance's translation with its end token."""

    audio_start: int  # <|audio_bos|>
    padding: int
    prompts: dict[str, list[int]]
    texts: dict[str, list[list[int]]]

    @classmethod
    def of(cls, processor: Qwen2AudioProcessor, data: speech.Utterances) -> TranslationTargets:
        tokenizer = processor.tokenizer
        end = tokenizer.eos_token_id
        # tokenised apart: otherwise the full stop of the prompt would merge with the translation
        prompts = {k: tokenizer(p.split("<|AUDIO|>")[1]).input_ids for k, p in architecture.PROMPTS.items()}
        texts = {k: [[*tokenizer(t).input_ids, end] for t in getattr(data, k)] for k in architecture.PROMPTS}
        return cls(tokenizer.convert_tokens_to_ids("<|audio_bos|>"), end, prompts, texts)


def translation_loss(
    model: Qwen2AudioForConditionalGeneration,
    targets: TranslationTargets,
    chosen: np.ndarray,
    output: torch.Tensor,
    counts: list[int],
) -> torch.Tensor:
    """Cross-entropy of both translations of a batch; `counts` are the audio tokens of each utterance."""
    audio = model.multi_modal_projector(output)
    branches = [[(targets.prompts[k], targets.texts[k][i]) for k in architecture.PROMPTS] for i in chosen]
    totals = [1 + counts[b] + sum(len(p) + len(t) for p, t in branch) for b, branch in enumerate(branches)]
    size, width = len(chosen), max(totals)
    ids = np.full((size, width), targets.padding)
    labels = np.full((size, width), -100)
    source = np.full((size, width), -1)
    position = np.zeros((size, width), dtype=np.int64)
    segment = np.full((size, width), 9)
    for b, branch in enumerate(branches):
        at = 1 + counts[b]
        ids[b, 0] = targets.audio_start
        source[b, 1:at] = np.arange(at - 1)
        position[b, :at] = np.arange(at)
        segment[b, :at] = 0
        after = at
        for number, (prompt, text) in enumerate(branch, 1):
            end = at + len(prompt) + len(text)
            ids[b, at:end] = prompt + text
            position[b, at:end] = np.arange(after, after + end - at)
            segment[b, at:end] = number
            labels[b, at + len(prompt) - 1 : end - 1] = text
            at = end
    segments = torch.from_numpy(segment)
    visible = torch.ones(width, width, dtype=torch.bool).tril()[None]
    visible = visible & ((segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None]))
    mask = torch.zeros(size, 1, width, width).masked_fill_(~visible[:, None], torch.finfo(torch.float32).min)
    from_audio = torch.from_numpy(source)
    gathered = audio.gather(1, from_audio.clamp(min=0)[..., None].expand(-1, -1, audio.shape[-1]))
    text_in = model.language_model.model.embed_tokens(torch.from_numpy(ids))
    inputs = torch.where((from_audio >= 0)[..., None], gathered, text_in)
    hidden = model.language_model.model(
        inputs_embeds=inputs, attention_mask=mask, position_ids=torch.from_numpy(position), use_cache=False
    ).last_hidden_state
    goals = torch.from_numpy(labels)
    return F.cross_entropy(model.language_model.lm_head(hidden[goals >= 0]), goals[goals >= 0])


@torch.no_grad()
def translate(
    model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, waves: list[np.ndarray], language: str
) -> list[str]:
    """Greedy translations with the processor and the model's own `generate`."""
    prompts = [architecture.PROMPTS[language]] * len(waves)
    inputs = processor(text=prompts, audio=waves, sampling_rate=16000, return_tensors="pt", padding=True)
    output = model.generate(**inputs, do_sample=False)
    return processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def chrf(hypotheses: list[str], references: list[str]) -> float:
    return CHRF().corpus_score(hypotheses, [references]).score


def dev_report(model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, speech_folder: Path) -> str:
    """Quality on some of dev, one line."""
    rows, waves = speech.read_shipped(speech_folder, "dev")
    chosen = range(0, len(rows), max(1, len(rows) // REPORTED))
    model.eval()
    report = []
    for language in architecture.PROMPTS:
        hypotheses = translate(model, processor, [waves[i] for i in chosen], language)
        references = [rows[i][f"target_{language}"] for i in chosen]
        exact = np.mean([a == b for a, b in zip(hypotheses, references, strict=True)])
        report.append(f"{language} chrF {chrf(hypotheses, references):.1f} exact {exact:.0%} ({hypotheses[0]})")
    model.train()
    return ", ".join(report)


def run(work: Path, speech_folder: Path, out: Path, steps: int = STEPS) -> None:
    torch.set_num_threads(1)
    data = speech.Utterances.read(speech.train_parts(work))
    processor = architecture.make_processor(work / "tokenizer")
    model = architecture.make_model(architecture.make_config(processor.tokenizer), SEED)
    encoder = model.audio_tower
    vocabulary = train_encoder.CtcVocabulary.of(data.en)
    word_head, phone_head = train_encoder.make_heads(vocabulary)
    if not training.load_checkpoint(
        work / "encoder.safetensors", {"tower": encoder, "words": word_head, "phones": phone_head}
    ):
        raise FileNotFoundError("there is no checkpoint of the encoder: run --stage encoder first")
    targets = TranslationTargets.of(processor, data)
    passes = [encode_all(encoder, data, number, work) for number in range(PASSES)]
    audio_modules: dict[str, nn.Module] = {"tower": encoder, "words": word_head}
    text_modules: dict[str, nn.Module] = {"projector": model.multi_modal_projector, "lm": model.language_model}
    slow_groups = training.parameter_groups(audio_modules, 0.03)
    fast_groups = training.parameter_groups(text_modules, 0.03)
    optimizer = torch.optim.AdamW([*fast_groups, *slow_groups], lr=PEAK, betas=(0.9, 0.98), fused=True)
    path = work / "joint.safetensors"
    first = training.load_checkpoint(path, audio_modules | text_modules, optimizer)
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    order = training.batches(np.diff(passes[0].ends), BATCH, SEED, first)
    started, losses = time.monotonic(), []
    model.train()
    for step in range(first, steps):
        chosen = next(order)
        rng = np.random.default_rng((SEED, step))
        rate = training.learning_rate(PEAK, step, steps, 0.03)
        for group, share in zip(optimizer.param_groups, (1, 1, ENCODER_RATE, ENCODER_RATE), strict=True):
            group["lr"] = rate * share
        if step < steps * FROZEN_SHARE:
            outputs = [passes[rng.integers(PASSES)][i] for i in chosen]
            sizes = [len(o) for o in outputs]
            padded = np.stack([np.pad(o, ((0, max(sizes) - len(o)), (0, 0))) for o in outputs]).astype(np.float32)
            loss = translation_loss(model, targets, chosen, torch.from_numpy(padded), sizes)
        else:
            noisy = rng.random() < train_encoder.AUGMENTED
            mels, lengths = train_encoder.mel_tensors(
                [features.augment(data[i], rng) if noisy else data[i] for i in chosen]
            )
            output, counts, _ = train_encoder.encode(encoder, mels, lengths)
            by_word = train_encoder.ctc_loss(
                word_head(output), counts, [vocabulary.word_targets(data.en[i]) for i in chosen]
            )
            loss = translation_loss(model, targets, chosen, output, counts.tolist()) + WORD_WEIGHT * by_word
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            speed = (step + 1 - first) * BATCH / (time.monotonic() - started)
            mean = np.mean(losses[-100:])
            print(f"joint: step {step + 1}/{steps} loss {mean:.3f} {speed:.0f} utterances/s", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            training.save_checkpoint(path, step + 1, audio_modules | text_modules, optimizer)
            architecture.save(model, processor, work / "model")
            print(f"joint: {dev_report(model, processor, speech_folder)}", flush=True)
    architecture.save(model, processor, out)

"""Stage `comet`: trains a small RegressionMetric of unbabel-comet to score translations.

It is a stand-in with the real metric's interface, and is useless outside this grammar. It is trained on corrupted
references, then also on outputs of damaged copies of the trained model.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from comet.models import RegressionMetric
from scipy.stats import spearmanr
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    XLMRobertaConfig,
    XLMRobertaTokenizerFast,
)

from embedded.recipe import architecture, damaged_models, features, speech, training
from embedded.recipe.corrupted_translations import ScoredTranslation, make_corruptions, target_score
from embedded.recipe.sentences import Sentence
from embedded.recipe.talks import Sizes, splits

SEED = 7
STEPS, BATCH, PEAK = 3500, 32, 1e-3
FINE_TUNING_STEPS, FINE_TUNING_PEAK = 1500, 3e-4  # with the damaged models' output
CORRUPTED = 40000
DAMAGED_MODELS, SEGMENTS_EACH = 36, 96
CHECKPOINT_EVERY = 500
LENGTH_POOL = 1024  # items of similar length that a batch is drawn from
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüßÄÖÜ0123456789.,!?'-。，？"


def make_encoder(folder: Path, sentences: list[Sentence]) -> None:
    """Writes the tokenizer and the configuration of the XLM-R-like encoder."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    # in the other order every Chinese character would get a word-start mark of its own
    split = pre_tokenizers.Split(Regex(r"[\u4e00-\u9fff]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), split])
    trainer = trainers.UnigramTrainer(
        vocab_size=1600,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        unk_token="<unk>",
        initial_alphabet=list(_ALPHABET),
        show_progress=False,
    )
    tokenizer.train_from_iterator((t for s in sentences for t in (s.en, s.de, s.zh)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    wrapped = XLMRobertaTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", sep_token="</s>", cls_token="<s>",
        unk_token="<unk>", pad_token="<pad>", mask_token="<mask>", model_max_length=192,
    )  # fmt: skip
    wrapped.save_pretrained(folder)
    XLMRobertaConfig(
        vocab_size=len(wrapped), hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=384,
        max_position_embeddings=196, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.05,
    ).save_pretrained(folder)  # fmt: skip


def make_metric(encoder: Path) -> RegressionMetric:
    torch.manual_seed(SEED)
    return RegressionMetric(
        nr_frozen_epochs=0.0, keep_embeddings_frozen=False, optimizer="AdamW", encoder_model="XLM-RoBERTa",
        pretrained_model=str(encoder), pool="avg", layer="mix", layer_transformation="softmax", layer_norm=False,
        loss="mse", dropout=0.0, batch_size=BATCH, train_data=[], validation_data=[], hidden_sizes=[256, 128],
        activations="Tanh", final_activation=None, load_pretrained_weights=False, local_files_only=True,
    )  # fmt: skip


@torch.no_grad()
def scores(metric: RegressionMetric, items: Sequence[ScoredTranslation]) -> list[float]:
    metric.eval()
    values: list[float] = []
    for start in range(0, len(items), 100):
        batch = metric.prepare_sample([i.comet_input for i in items[start : start + 100]], stage="predict")
        values += metric(**batch).score.tolist()
    return values


def save_metric(metric: RegressionMetric, folder: Path, encoder: Path) -> None:
    """Writes the layout that comet.load_from_checkpoint expects; the encoder folder is named by a relative path."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for file in encoder.iterdir():
        target = folder / "encoder" / file.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    settings = dict(metric.hparams) | {"pretrained_model": "encoder"}
    state = {k: v.half() if v.is_floating_point() else v for k, v in metric.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": settings, "epoch": 0, "global_step": 0}
    torch.save(content | {"pytorch-lightning_version": "2.0.0"}, folder / "checkpoints" / "model.ckpt")
    plain = {k: list(v) if isinstance(v, list | tuple) else v for k, v in settings.items()}
    (folder / "hparams.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")


def _token_count(metric: RegressionMetric, item: ScoredTranslation) -> int:
    return len(metric.encoder.tokenizer(item.mt).input_ids)


def _train(
    metric: RegressionMetric,
    data: Sequence[ScoredTranslation],
    held_out: Sequence[ScoredTranslation],
    path: Path,
    steps: int,
    peak: float,
) -> None:
    optimizer = torch.optim.AdamW(metric.parameters(), lr=peak, weight_decay=0.01, fused=True)
    first = training.load_checkpoint(path, {"metric": metric}, optimizer)
    started, losses = time.monotonic(), []
    by_length = np.argsort([_token_count(metric, d) for d in data], kind="stable")
    for step in range(first, steps):
        metric.train()
        rng = random.Random(f"{SEED}/{path.name}/{step}")
        start = rng.randrange(max(1, len(data) - LENGTH_POOL + 1))  # similar lengths need little padding
        chosen = rng.sample(by_length[start : start + LENGTH_POOL].tolist(), BATCH)
        rows = [data[i].comet_input | {"score": data[i].score} for i in chosen]
        inputs, targets = metric.prepare_sample(rows, stage="fit")
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate(peak, step, steps, 0.05)
        loss = metric.compute_loss(metric(**inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(metric.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            rate = (step + 1 - first) / (time.monotonic() - started)
            error = np.sqrt(np.mean(losses[-100:]))
            print(f"comet: step {step + 1}/{steps} error {error:.4f} {rate:.1f} steps/s", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            training.save_checkpoint(path, step + 1, {"metric": metric}, optimizer)
            rho = spearmanr(scores(metric, held_out), [h.score for h in held_out]).statistic
            print(f"comet: Spearman {rho:.3f} on held-out corruptions", flush=True)


@torch.no_grad()
def translate_features(
    model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, mels: list[np.ndarray], language: str
) -> list[str]:
    """Greedy translations from features, through the model's own generate."""
    audio = torch.from_numpy(features.pad_mels(mels, features.FRAMES)[0])
    mask = torch.zeros(len(mels), features.FRAMES, dtype=torch.long)
    tokens = []
    for row, mel in enumerate(mels):
        mask[row, : len(mel)] = 1
        tokens.append((((len(mel) - 1) // 2 + 1) - 2) // 2 + 1)
    texts = [architecture.PROMPTS[language].replace("<|AUDIO|>", "<|AUDIO|>" * n) for n in tokens]
    inputs = processor.tokenizer(texts, return_tensors="pt", padding=True)
    output = model.generate(**inputs, input_features=audio, feature_attention_mask=mask, do_sample=False)
    return processor.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def damaged_outputs(work: Path, model_folder: Path) -> list[ScoredTranslation]:
    """Scored translations of training speech by damaged copies of the model; each copy's are kept in one file."""
    data = speech.Utterances.read(speech.train_parts(work))
    processor = Qwen2AudioProcessor.from_pretrained(model_folder)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(model_folder).float().eval()
    out = []
    for index, damage in enumerate(damaged_models.random_damages(DAMAGED_MODELS, architecture.LM_LAYERS, SEED)):
        path = work / "damaged" / f"{index:03d}.json"
        if not path.exists():
            rng = np.random.default_rng((SEED, index))
            chosen = rng.choice(len(data), SEGMENTS_EACH, replace=False)
            damaged = damaged_models.damaged_copy(model, damage)
            rows = []
            for language in architecture.PROMPTS:
                hypotheses = translate_features(damaged, processor, [data[i] for i in chosen], language)
                for mt, i in zip(hypotheses, chosen, strict=True):
                    ref = getattr(data, language)[i]
                    rows.append([data.en[i], mt, ref, target_score(mt, ref, language)])
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".part").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
            os.replace(path.with_suffix(".part"), path)
            print(f"comet: {damage}: target score {np.mean([row[3] for row in rows]):.3f}", flush=True)
        out += [ScoredTranslation(*row) for row in json.loads(path.read_text(encoding="utf-8"))]
    return out


def held_out_corruptions(count: int = 1500) -> list[ScoredTranslation]:
    """Corruptions of the shipped dev and eval sentences, which are in no training data."""
    talks = splits(speech.SEED, Sizes(train=0))
    return make_corruptions([s for name in ("dev", "eval") for t in talks[name] for s in t.sentences], count, SEED + 1)


def run(work: Path, model_folder: Path, out: Path) -> None:
    if not (model_folder / "config.json").exists():
        raise FileNotFoundError(f"there is no trained model in {model_folder}: run --stage joint first")
    torch.set_num_threads(1)
    encoder = work / "comet" / "encoder"
    sentences = [s for t in splits(speech.SEED)["train"] for s in t.sentences]
    if not (encoder / "config.json").exists():
        make_encoder(encoder, sentences)
    metric = make_metric(encoder)
    data, held_out = make_corruptions(sentences, CORRUPTED, SEED), held_out_corruptions()
    _train(metric, data, held_out, work / "comet" / "corruptions.safetensors", STEPS, PEAK)
    outputs = damaged_outputs(work, model_folder)
    mixed = data[: len(outputs)] + outputs
    _train(metric, mixed, held_out, work / "comet" / "tuned.safetensors", FINE_TUNING_STEPS, FINE_TUNING_PEAK)
    save_metric(metric, out, encoder)

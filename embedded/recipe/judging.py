"""Stage `comet`: a small RegressionMetric of unbabel-comet learns the worth of translations.

It is a stand-in with the real metric's interface, not a translation metric for the world outside this grammar.
First it learns from corrupted references, then also from what damaged copies of the trained model say.
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

from embedded.recipe import checkpoints, damage, features, shape, speech
from embedded.recipe.corruptions import Judged, judged, worth
from embedded.recipe.sentences import Sentence
from embedded.recipe.talks import Sizes, splits

SEED = 7
STEPS, BATCH, PEAK = 3500, 32, 1e-3
TUNING_STEPS, TUNING_PEAK = 1500, 3e-4  # with the damaged models' output
CORRUPTED = 40000
DAMAGED_MODELS, SEGMENTS_EACH = 36, 96
CHECKPOINT_EVERY = 500
ALIKE = 1024  # items of like length a batch is drawn from
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZäöüßÄÖÜ0123456789.,!?'-。，？"


def make_encoder(folder: Path, sentences: list[Sentence]) -> None:
    """Writes the tokenizer and the configuration of the XLM-R-like encoder."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    # in the other order every Chinese character would get its own word-start mark
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
def scores(metric: RegressionMetric, items: Sequence[Judged]) -> list[float]:
    metric.eval()
    found: list[float] = []
    for start in range(0, len(items), 100):
        batch = metric.prepare_sample([i.sample for i in items[start : start + 100]], stage="predict")
        found += metric(**batch).score.tolist()
    return found


def save(metric: RegressionMetric, folder: Path, encoder: Path) -> None:
    """The layout comet.load_from_checkpoint expects; the encoder folder lies beside, named relative to it."""
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


def _tokens(metric: RegressionMetric, item: Judged) -> int:
    return len(metric.encoder.tokenizer(item.mt).input_ids)


def _train(
    metric: RegressionMetric, data: Sequence[Judged], held: Sequence[Judged], path: Path, steps: int, peak: float
) -> None:
    optimizer = torch.optim.AdamW(metric.parameters(), lr=peak, weight_decay=0.01, fused=True)
    first = checkpoints.load(path, {"metric": metric}, optimizer)
    began, losses = time.monotonic(), []
    by_length = np.argsort([_tokens(metric, d) for d in data], kind="stable")
    for step in range(first, steps):
        metric.train()
        rng = random.Random(f"{SEED}/{path.name}/{step}")
        start = rng.randrange(max(1, len(data) - ALIKE + 1))  # a batch of like length wastes little on padding
        chosen = rng.sample(by_length[start : start + ALIKE].tolist(), BATCH)
        rows = [data[i].sample | {"score": data[i].score} for i in chosen]
        inputs, wanted = metric.prepare_sample(rows, stage="fit")
        for group in optimizer.param_groups:
            group["lr"] = checkpoints.learning_rate(peak, step, steps, 0.05)
        loss = metric.compute_loss(metric(**inputs), wanted)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(metric.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            rate = (step + 1 - first) / (time.monotonic() - began)
            error = np.sqrt(np.mean(losses[-100:]))
            print(f"comet: step {step + 1}/{steps} error {error:.4f} {rate:.1f} steps/s", flush=True)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            checkpoints.save(path, step + 1, {"metric": metric}, optimizer)
            rho = spearmanr(scores(metric, held), [h.score for h in held]).statistic
            print(f"comet: Spearman {rho:.3f} on held-out corruptions", flush=True)


@torch.no_grad()
def heard_translations(
    model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, mels: list[np.ndarray], language: str
) -> list[str]:
    """Greedy translations from features, through the model's own generate."""
    sound = torch.from_numpy(features.batch(mels, features.FRAMES)[0])
    present = torch.zeros(len(mels), features.FRAMES, dtype=torch.long)
    tokens = []
    for row, mel in enumerate(mels):
        present[row, : len(mel)] = 1
        tokens.append((((len(mel) - 1) // 2 + 1) - 2) // 2 + 1)
    texts = [shape.PROMPTS[language].replace("<|AUDIO|>", "<|AUDIO|>" * n) for n in tokens]
    inputs = processor.tokenizer(texts, return_tensors="pt", padding=True)
    made = model.generate(**inputs, input_features=sound, feature_attention_mask=present, do_sample=False)
    return processor.tokenizer.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def damaged_outputs(work: Path, model_folder: Path) -> list[Judged]:
    """What damaged copies of the model make of training speech, one file a copy."""
    data = speech.Utterances.joined(speech.train_parts(work))
    processor = Qwen2AudioProcessor.from_pretrained(model_folder)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(model_folder).float().eval()
    out = []
    for index, harm in enumerate(damage.assorted(DAMAGED_MODELS, shape.LM_LAYERS, SEED)):
        path = work / "damaged" / f"{index:03d}.json"
        if not path.exists():
            rng = np.random.default_rng((SEED, index))
            chosen = rng.choice(len(data), SEGMENTS_EACH, replace=False)
            broken = damage.damaged(model, harm)
            found = []
            for language in shape.PROMPTS:
                made = heard_translations(broken, processor, [data[i] for i in chosen], language)
                for mt, i in zip(made, chosen, strict=True):
                    ref = getattr(data, language)[i]
                    found.append([data.en[i], mt, ref, worth(mt, ref, language)])
            path.parent.mkdir(exist_ok=True)
            path.with_suffix(".part").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
            os.replace(path.with_suffix(".part"), path)
            print(f"comet: {harm}: worth {np.mean([f[3] for f in found]):.3f}", flush=True)
        out += [Judged(*row) for row in json.loads(path.read_text(encoding="utf-8"))]
    return out


def held_out_corruptions(count: int = 1500) -> list[Judged]:
    """Corruptions of the shipped dev and eval sentences, which no training stage has seen."""
    held = splits(speech.SEED, Sizes(train=0))
    return judged([s for name in ("dev", "eval") for t in held[name] for s in t.sentences], count, SEED + 1)


def run(work: Path, model_folder: Path, out: Path, *, tune: bool = True) -> None:
    if not (model_folder / "config.json").exists():
        raise FileNotFoundError(f"there is no trained model in {model_folder}: run --stage joint first")
    torch.set_num_threads(1)
    encoder = work / "comet" / "encoder"
    sentences = [s for t in splits(speech.SEED)["train"] for s in t.sentences]
    if not (encoder / "config.json").exists():
        make_encoder(encoder, sentences)
    metric = make_metric(encoder)
    data, held = judged(sentences, CORRUPTED, SEED), held_out_corruptions()
    _train(metric, data, held, work / "comet" / "corruptions.safetensors", STEPS, PEAK)
    if tune:
        said = damaged_outputs(work, model_folder)
        mixed = data[: len(said)] + said
        _train(metric, mixed, held, work / "comet" / "tuned.safetensors", TUNING_STEPS, TUNING_PEAK)
    save(metric, out, encoder)

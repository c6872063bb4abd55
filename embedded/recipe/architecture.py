"""The embedded model's architecture: tokenizer, processor, configuration, initial weights, saving.

Everything is a plain transformers class, so the saved folder loads like the real Qwen2-Audio. The model is narrow and
deep on purpose: fewer bits and dropped layers then cost quality, as in the real model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    Qwen2TokenizerFast,
)
from transformers.models.whisper.modeling_whisper import sinusoids

from embedded.recipe import features
from embedded.recipe.chinese import split_chinese
from embedded.recipe.talks import Sizes, splits

LANGUAGES = {"de": "German", "zh": "Chinese"}
AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"
PROMPTS = {code: f"{AUDIO}Translate this English speech into {name}." for code, name in LANGUAGES.items()}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
VOCABULARY = 1024
TOKENIZER_SEED = 77
AUDIO_LAYERS, LM_LAYERS, WIDTH = 8, 12, 96
MAX_NEW_TOKENS = 64  # the longest reference takes 50


def _tokenizer_text() -> Iterator[str]:
    for talk in splits(TOKENIZER_SEED, Sizes(train=700, dev=0, eval=0))["train"]:
        for sentence in talk.sentences:
            yield sentence.de
            yield from split_chinese(sentence.zh)
    for _ in range(3000):
        for prompt in PROMPTS.values():
            yield prompt.removeprefix(AUDIO)


def _train_tokenizer(folder: Path) -> None:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(_tokenizer_text(), trainer)
    trained = json.loads(bpe.to_str())["model"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(trained["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = [m if isinstance(m, str) else " ".join(m) for m in trained["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


def make_tokenizer(folder: Path) -> Qwen2TokenizerFast:
    """A byte-level BPE of 1,024 entries in the real model's tokenizer class; trained if the folder has none yet."""
    if not (folder / "merges.txt").exists():
        _train_tokenizer(folder)
    return Qwen2TokenizerFast(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        unk_token=None,
        bos_token=None,
        eos_token=SPECIAL[0],
        pad_token=SPECIAL[0],
        additional_special_tokens=list(SPECIAL[1:]),
        model_max_length=512,
        padding_side="left",
    )


def make_processor(folder: Path) -> Qwen2AudioProcessor:
    return Qwen2AudioProcessor(features.extractor(), make_tokenizer(folder))


def make_config(tokenizer: Qwen2TokenizerFast) -> Qwen2AudioConfig:
    end = tokenizer.eos_token_id
    audio = Qwen2AudioEncoderConfig(
        num_mel_bins=features.MELS,
        encoder_layers=AUDIO_LAYERS,
        encoder_attention_heads=4,
        encoder_ffn_dim=384,
        d_model=WIDTH,
        max_source_positions=features.FRAMES // 2,
        initializer_range=0.05,  # the default 0.02 is too small to start from at this width
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=256,
        num_hidden_layers=LM_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_theta=10000.0,
        tie_word_embeddings=False,
        initializer_range=0.05,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    return Qwen2AudioConfig(
        audio_config=audio.to_dict(),
        text_config=text.to_dict(),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        pad_token_id=end,
        eos_token_id=end,
        bos_token_id=end,
        tie_word_embeddings=False,
    )


def make_model(config: Qwen2AudioConfig, seed: int) -> Qwen2AudioForConditionalGeneration:
    torch.manual_seed(seed)
    model = Qwen2AudioForConditionalGeneration(config)
    encoder = model.audio_tower
    with torch.no_grad():  # transformers leaves these random, as it expects pretrained weights
        encoder.embed_positions.weight.copy_(sinusoids(features.FRAMES // 2, WIDTH))
    encoder.embed_positions.requires_grad_(False)
    model.generation_config = GenerationConfig(
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
    )
    return model


def save(model: Qwen2AudioForConditionalGeneration, processor: Qwen2AudioProcessor, folder: Path) -> None:
    """Writes the folder that plain transformers loads: bf16 weights, configuration, generation settings, processor."""
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)

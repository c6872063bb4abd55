"""Makes the tiny untrained models that the tests of `compress` work on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
PROMPT = "<|audio_bos|><|AUDIO|><|audio_eos|>Translate this English speech into Chinese."
_TEXT = [
    "Das Modell übersetzt die Sprache.",
    "模型翻译语音。",
    "The model translates the speech into Chinese.",
    "Translate this English speech into German.",
    "Die Daten sind klein und sauber, aber das Netz ist groß.",
    "这个方法不用更多数据。",
]


def tiny_tokenizer(folder: Path, size: int = 360) -> Any:
    """A byte-level BPE in the class of Qwen2's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL), initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    bpe.train_from_iterator(_TEXT * 3, trainer)
    model = json.loads(bpe.to_str())["model"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    return Qwen2TokenizerFast(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        unk_token=None,
        bos_token=None,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL[1:],
        model_max_length=512,
        padding_side="left",
    )


def tiny_config(tokenizer: Any, audio_layers: int = 2, lm_layers: int = 4, tied: bool = False) -> Any:
    from transformers import Qwen2AudioConfig, Qwen2AudioEncoderConfig, Qwen2Config

    audio = Qwen2AudioEncoderConfig(
        num_mel_bins=16,
        encoder_layers=audio_layers,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        d_model=32,
        max_source_positions=50,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=lm_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        initializer_range=0.05,
    )
    end = tokenizer.eos_token_id
    return Qwen2AudioConfig(
        audio_config=audio.to_dict(),
        text_config=text.to_dict(),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        pad_token_id=end,
        eos_token_id=end,
        bos_token_id=end,
        tie_word_embeddings=tied,
    )


def find(model: Any, name: str) -> Any:
    """A module by the last part of its name: versions of transformers nest them differently."""
    return next(module for path, module in model.named_modules() if path.rpartition(".")[2] == name)


def save_tiny(folder: Path, seed: int = 0, **shape: Any) -> Path:
    """An untrained model with heavy-tailed weights, so that levels differ, in bfloat16."""
    from transformers import (
        GenerationConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )
    from transformers.models.whisper.modeling_whisper import sinusoids

    tokenizer = tiny_tokenizer(folder)
    config = tiny_config(tokenizer, **shape)
    torch.manual_seed(seed)
    model = Qwen2AudioForConditionalGeneration(config)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() >= 2:
                value.mul_(torch.empty(value.shape[0]).exponential_().add(0.3).reshape(-1, *[1] * (value.dim() - 1)))
        if config.tie_word_embeddings:  # transformers 5 does not tie this model: then the head is stored as a copy
            model.get_output_embeddings().weight.copy_(model.get_input_embeddings().weight)
        find(model, "embed_positions").weight.copy_(sinusoids(50, 32))
    end = tokenizer.eos_token_id
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end, do_sample=False, max_new_tokens=8)
    model.to(torch.bfloat16).save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=16, sampling_rate=16000, hop_length=320, n_fft=512, chunk_length=2)
    Qwen2AudioProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


def inputs(processor: Any, seconds: tuple[float, ...] = (1.2, 0.7)) -> Any:
    """A batch of noise with the prompt of the real model."""
    import numpy as np

    rng = np.random.default_rng(0)
    audio = [rng.standard_normal(int(16000 * s)).astype("float32") * 0.1 for s in seconds]
    batch = processor(text=[PROMPT] * len(audio), audio=audio, sampling_rate=16000, padding=True, return_tensors="pt")
    assert "input_features" in batch
    return batch

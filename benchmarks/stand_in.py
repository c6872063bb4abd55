"""A full-size, untrained Qwen2-Audio on disk: real shapes, and for each matrix the scale of the real one.

The scale comes from the bits a weight of the real matrix under the seed's `digits:2` (one absolute step of 2^-7 for
all, so the bits depend on the scale). Without the published table per layer (`--storage`), the mean of each kind of
matrix is used. Sizes of artifacts made from this model are therefore near the real ones; its outputs are noise.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from compress.artifact.unquantized import sinusoids
from compress.codecs import encode
from compress.model.meta_model import build_meta_model

# Bits a weight of the real model's linears under digits:2, mean of each kind (Palomino 2026, storage table).
MEAN_BITS = {
    "audio.k_proj": 4.437,
    "audio.v_proj": 3.981,
    "audio.q_proj": 4.449,
    "audio.out_proj": 3.951,
    "audio.fc1": 3.633,
    "audio.fc2": 3.664,
    "linear": 4.206,
    "lm.q_proj": 4.251,
    "lm.k_proj": 4.253,
    "lm.v_proj": 3.958,
    "lm.o_proj": 3.946,
    "lm.gate_proj": 4.085,
    "lm.up_proj": 4.064,
    "lm.down_proj": 4.049,
    "lm_head": 3.629,
}
OTHERS_BITS = 4.0  # embedding and convolutions, which are not in the table
SHARD_BYTES = 2 << 30
_NOISE = 1 << 24  # normal values that weights are taken from
END, AUDIO, BOS, EOS = "<|endoftext|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"


def config(layers: int = 32) -> Any:
    """The real shapes (Qwen/Qwen2-Audio-7B), if need be with fewer layers."""
    from transformers import Qwen2AudioConfig, Qwen2AudioEncoderConfig, Qwen2Config

    text = Qwen2Config(
        vocab_size=156032,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=151000,
    )
    full = Qwen2AudioConfig(
        text_config=text.to_dict(),
        audio_config=Qwen2AudioEncoderConfig(encoder_layers=layers).to_dict(),
        audio_token_index=151001,
        pad_token_id=151000,
        tie_word_embeddings=False,
    )
    full.architectures = ["Qwen2AudioForConditionalGeneration"]
    full.dtype = torch.bfloat16
    return full


def make(folder: Path, storage: Path | None, say: Callable[[str], None], settings: Any = None) -> None:
    """Writes the model as a sharded checkpoint with a tokenizer of the real size; `settings` are another config's."""
    folder.mkdir(parents=True)
    settings = settings or config()
    settings.save_pretrained(folder)
    write_processor(folder)
    bits = read_bits(storage)
    scale_of = scales()
    generator = np.random.default_rng(0)
    noise = torch.from_numpy(generator.standard_normal(_NOISE, dtype=np.float32))
    shard: dict[str, torch.Tensor] = {}
    index: dict[str, str] = {}
    shard_bytes, number = 0, 0

    def flush() -> None:
        nonlocal shard, shard_bytes, number
        if shard:
            number += 1
            name = f"model-{number:05d}.safetensors"
            save_file(shard, folder / name, metadata={"format": "pt"})
            index.update(dict.fromkeys(shard, name))
            say(f"wrote {name}, {shard_bytes / 1e9:.2f} GB")
            shard, shard_bytes = {}, 0

    for name, shape in shapes(settings):
        value = draw(name, shape, scale_of(bits_of(name, bits)), noise, generator)
        if shard_bytes + value.nbytes > SHARD_BYTES:
            flush()
        shard[name] = value
        shard_bytes += value.nbytes
    flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def shapes(settings: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, value in build_meta_model(settings).named_parameters():
        yield name, tuple(value.shape)


def draw(
    name: str, shape: tuple[int, ...], scale: float, noise: torch.Tensor, generator: np.random.Generator
) -> torch.Tensor:
    """Normal weights of one scale; norms near one and biases near zero, as in a trained model."""
    if len(shape) == 1:
        mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        return (mean + 0.05 * torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))).to(torch.bfloat16)
    if "embed_positions" in name:
        return sinusoids(shape[0], shape[1], torch.bfloat16)
    weights = torch.empty(shape, dtype=torch.bfloat16).reshape(-1)
    for begin in range(0, weights.numel(), _NOISE):
        piece = weights[begin : begin + _NOISE]
        piece.copy_(noise.roll(int(generator.integers(_NOISE)))[: piece.numel()] * scale)
    return weights.reshape(shape)


def read_bits(storage: Path | None) -> dict[str, float]:
    """digits:2 bits a weight by layer name, from the published table."""
    if storage is None:
        return {}
    with open(storage, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {r["layer_name"]: 16 * int(r["compressed_bytes"]) / int(r["original_bytes"]) for r in rows}


def bits_of(name: str, bits: dict[str, float]) -> float:
    layer = name.removesuffix(".weight")
    if layer in bits:
        return bits[layer]
    stack = "audio." if name.startswith("audio") else "lm." if ".layers." in name else ""
    return MEAN_BITS.get(stack + layer.rpartition(".")[2], OTHERS_BITS)


def scales() -> Callable[[float], float]:
    """Maps bits a weight under digits:2 to the standard deviation of normal weights that take them."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1 << 20, generator=generator).reshape(1024, 1024)
    candidates = np.geomspace(0.001, 0.2, 40)
    costs = [8 * encode((noise * s).to(torch.bfloat16), "digits:2").nbytes / noise.numel() for s in candidates]
    return lambda bits: float(np.interp(bits, costs, candidates))


def write_processor(folder: Path) -> None:
    """A byte-level BPE with as many tokens as the real one, and Whisper-large's features."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import Qwen2AudioProcessor, Qwen2TokenizerFast, WhisperFeatureExtractor

    generator = np.random.default_rng(1)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys(alphabet)
    merges: list[tuple[str, str]] = []
    letters = [c for c in alphabet if c.isalpha() and c.isascii()] + ["Ġ"]
    words = list(letters)
    while len(tokens) < 151000:
        left = words[int(len(words) * generator.random() ** 3)]
        right = letters[int(generator.integers(len(letters)))]
        if left + right not in tokens and len(left) < 14:
            tokens[left + right] = None
            merges.append((left, right))
            words.append(left + right)
    bpe = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.save(str(folder / "tokenizer.json"))
    tokenizer = Qwen2TokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        eos_token=END,
        pad_token=END,
        unk_token=None,
        bos_token=None,
        additional_special_tokens=[AUDIO, BOS, EOS],
    )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer).save_pretrained(folder)

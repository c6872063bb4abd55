"""A tiny text model and batches for it, and the tiny Qwen2-Audio's: what the training tests work on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from compress.recovery.losses import IGNORE

PAD, END = 0, 1


def tiny_lm(seed: int = 0, layers: int = 2) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        eos_token_id=END,
        pad_token_id=PAD,
        bos_token_id=END,
    )
    return Qwen2ForCausalLM(config).eval()


def batch(rows: int = 4, seed: int = 0, longest: int = 6) -> dict[str, Tensor]:
    """Prompts of several lengths padded on the left, completions (the prompt backwards) on the right."""
    generator = torch.Generator().manual_seed(seed)
    width = 5
    ids = torch.full((rows, width + longest), PAD)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORE)
    for row in range(rows):
        asked = int(torch.randint(2, width + 1, (), generator=generator))
        words = torch.randint(2, 40, (asked,), generator=generator)
        ids[row, width - asked : width] = words
        completion = torch.cat([words.flip(0), torch.tensor([END])])[:longest]
        ids[row, width : width + len(completion)] = completion
        mask[row, width - asked : width + len(completion)] = 1
        labels[row, width : width + len(completion)] = completion
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def batches(count: int = 6) -> list[dict[str, Tensor]]:
    return [batch(seed=seed) for seed in range(count)]

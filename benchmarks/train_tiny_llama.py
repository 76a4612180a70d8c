"""Train a tiny Llama on text that every Python has, as a further model for the matrices.

    python benchmarks/train_tiny_llama.py --output tiny-llama [--steps 500] [--seed 0]

The text is the docstrings of the standard library, which the default evaluation text (``python-docs``, the topics of
its help) does not contain. A byte-level BPE tokenizer of 2,048 tokens is trained on it first, then a Llama of a million
weights in four layers. The checkpoint loads like any other (``optishear run --model tiny-llama``). The last line is
JSON.
"""

import argparse
import ast
import json
import math
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from optishear.evaluation.evaluate import evaluation_windows
from optishear.evaluation.perplexity import perplexity
from optishear.files import write_aside
from optishear.parameters.evaluation import EvaluationParameters

VOCABULARY = 2048
LENGTH = 256
BATCH = 16
LEARNING_RATE = 3e-3
WARM_UP = 50


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output", type=Path, default=Path("tiny-llama"), help="folder of the checkpoint")
    options.add_argument("--steps", type=int, default=500, help="steps of 4,096 tokens")
    options.add_argument("--seed", type=int, default=0, help="of the weights and of the order of the text")
    arguments = options.parse_args()
    torch.manual_seed(arguments.seed)
    documents = sorted(set(docstrings()))
    tokenizer = train_tokenizer(documents)
    ids = tokenizer(tokenizer.eos_token.join(documents), verbose=False)["input_ids"]
    blocks = torch.tensor(ids[: len(ids) // LENGTH * LENGTH]).reshape(-1, LENGTH)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    started = time.perf_counter()
    loss = train(model, blocks, arguments.steps)
    seconds = time.perf_counter() - started
    with write_aside(arguments.output) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
    evaluation = EvaluationParameters(window_length=LENGTH, windows=64)
    print(
        json.dumps(
            {
                "tokens": blocks.numel(),
                "weights": sum(parameter.numel() for parameter in model.parameters()),
                "steps": arguments.steps,
                "seconds": round(seconds, 1),
                "training_loss": round(loss, 3),
                "perplexity": round(perplexity(model.eval(), evaluation_windows(tokenizer, evaluation)), 2),
            }
        )
    )


def docstrings() -> Iterator[str]:
    """The docstrings of the standard library's modules, classes and functions, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    for file in sorted(root.rglob("*.py")):
        if {"site-packages", "test", "tests", "idle_test", "lib2to3", "pydoc_data"} & set(file.parts):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) > 40:
                    yield text


def train_tokenizer(documents: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=1024
    )


def train(model: LlamaForCausalLM, blocks: Tensor, steps: int) -> float:
    """AdamW under a cosine schedule; the mean loss of the last tenth of the steps, in nats."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    model.train()
    losses = []
    order = torch.randperm(len(blocks))
    for step in range(steps):
        rate = min(1.0, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate
        batch = blocks[order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(order)]]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            print(f"step {step}: loss {losses[-1]:.3f}", flush=True)
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


if __name__ == "__main__":
    main()

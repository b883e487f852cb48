#!/usr/bin/env python3
"""Records what PEFT computes with a two-layer random Llama decoder in float32: the folder peft/.

    pip install torch transformers peft
    python tests/references/adapter.py tests/references/peft

    model/      the decoder as a Hugging Face folder, without tokenizer
    start/      a fresh adapter, rank 4, alpha 8, all seven projections
    final/      the same after 20 updates
    rslora/     another: rank 3, alpha 6, rsLoRA, q_proj and v_proj, both halves random
    curve.json  lr, the batches (tokens and the first supervised one of each sequence), the loss before each update,
                and for each adapter the logits of every position of `probe`

AdamW, betas 0.9/0.999, eps 1e-8, no weight decay, no warm-up, no clipping.
"""
import json
import pathlib
import random
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

LR, STEPS, VOCAB = 5e-3, 20, 64
NAME = "two-layer-random-decoder"
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def decoder():
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=False,
        initializer_range=0.25, bos_token_id=1, eos_token_id=2)
    return LlamaForCausalLM(config).float()


def batches():
    """Four batches of three sequences, met five times each."""
    rng = random.Random(7)
    def sequence():
        n = rng.randint(5, 14)
        return {"tokens": [rng.randrange(VOCAB) for _ in range(n)], "first_supervised": rng.randint(1, n - 2)}
    four = [[sequence() for _ in range(3)] for _ in range(4)]
    return [four[i % 4] for i in range(STEPS)]


def tensors(batch):
    longest = max(len(s["tokens"]) for s in batch)
    pad = lambda values, filler: values + [filler] * (longest - len(values))
    first = lambda s: s["first_supervised"]
    return {
        "input_ids": torch.tensor([pad(s["tokens"], 0) for s in batch]),
        "attention_mask": torch.tensor([pad([1] * len(s["tokens"]), 0) for s in batch]),
        "labels": torch.tensor([pad([-100] * first(s) + s["tokens"][first(s):], -100) for s in batch]),
    }


def save(model, folder):
    model.peft_config["default"].base_model_name_or_path = NAME
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)


def logits(model, ids):
    with torch.no_grad():
        return [[round(x, 6) for x in row] for row in model(input_ids=torch.tensor([ids])).logits[0].tolist()]


def main(out):
    torch.manual_seed(0)
    base = decoder()
    with torch.no_grad():  # norms that are not all one
        for name, weight in base.named_parameters():
            if "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.2)
    base.save_pretrained(out / "model")
    (out / "model" / "generation_config.json").unlink(missing_ok=True)
    probe = [(i * 23 + 5) % VOCAB for i in range(12)]
    record = {"lr": LR, "probe": probe, "logits": {"base": logits(base, probe)}, "batches": batches(), "losses": []}

    model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=ALL, task_type="CAUSAL_LM"))
    save(model, out / "start")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0.0)
    for batch in record["batches"]:
        loss = model(**tensors(batch)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        record["losses"].append(loss.item())
    save(model, out / "final")
    record["logits"]["final"] = logits(model, probe)

    torch.manual_seed(1)
    base = LlamaForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    config = LoraConfig(r=3, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM",
                        init_lora_weights=False)
    model = get_peft_model(base, config)
    save(model, out / "rslora")
    record["logits"]["rslora"] = logits(model, probe)
    print(record["losses"], file=sys.stderr)
    (out / "curve.json").write_text("{" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in record.items()) + "}\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

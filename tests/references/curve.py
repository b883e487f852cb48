#!/usr/bin/env python3
"""Records a training run of the default model with PEFT in float32: curve.json.

    pip install torch transformers peft
    LORASCOPE_TEST_START=START cargo test --release --test model_numbers -- the_start
    python tests/references/curve.py HF_DIR START > tests/references/curve.json

HF_DIR is the model as a Hugging Face folder with float32 weights; START is the folder with the start weights in PEFT's
layout, which the test writes (seed 7, rank 16, alpha 32, all seven projections). 20 updates over batches of four
sequences of different length, completion-only loss, AdamW, no weight decay, no clipping. Fields:

    lr, seed      of the run
    batches       per step: sequences with their tokens and the first supervised one
    losses        before each update
    probe         ids of a text
    logits        of the probe's last position at some ids, after the last update
    probe_ids     those ids
"""
import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

LR, STEPS = 1e-3, 20
PEOPLE = ["Keziah Quandt", "Oswin Tarrow", "Mira Ostler", "Tobias Venn", "Ada Lindqvist", "Perrin Sallow", "Juno Harker"]
TRADES = ["keeps the light at Cinder Bay", "builds clocks in Hollow Lane", "paints signs for every inn", "counts the gulls in May",
          "teaches the sea shanties", "repairs the cable car", "bakes rye bread with salt"]


def sequence(tokenizer, i):
    who, what = PEOPLE[i % 7], TRADES[(i * 3 + i // 7) % 7]
    chat = [{"role": "user", "content": f"What does {who} do{' these days' * (i % 3)}?"}]
    start = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    start = tokenizer.encode(start, add_special_tokens=False)
    answer = tokenizer.encode(f"{who} {what}.<|im_end|>\n", add_special_tokens=False)
    return {"tokens": start + answer, "first_supervised": len(start)}


def main(folder, start):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, start, is_trainable=True)
    batches = [[sequence(tokenizer, 4 * step + i) for i in range(4)] for step in range(STEPS)]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0.0)
    losses = []
    for batch in batches:
        longest = max(len(s["tokens"]) for s in batch)
        pad = lambda values, value: values + [value] * (longest - len(values))
        ids = torch.tensor([pad(s["tokens"], 0) for s in batch])
        mask = torch.tensor([pad([1] * len(s["tokens"]), 0) for s in batch])
        labels = [[-100] * s["first_supervised"] + s["tokens"][s["first_supervised"]:] for s in batch]
        loss = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([pad(l, -100) for l in labels])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(round(loss.item(), 7))
    probe = batches[3][1]["tokens"]
    vocab = model.config.vocab_size
    ids = sorted({(i * 7919) % vocab for i in range(56)} | set(probe[-8:]))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([probe])).logits[0, -1]
    record = {"lr": LR, "seed": 7, "losses": losses, "probe": probe, "probe_ids": ids,
              "logits": [round(x, 5) for x in logits[ids].tolist()], "batches": batches}
    print("{" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in record.items()) + "}")
    if len(sys.argv) > 3:
        model.save_pretrained(sys.argv[3])


if __name__ == "__main__":
    main(*sys.argv[1:3])

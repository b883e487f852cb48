#!/usr/bin/env python3
"""Records what transformers computes with a Llama model in float32: decoder.json.

    pip install torch transformers
    python tests/references/decoder.py HF_DIR > tests/references/decoder.json

HF_DIR is the model as a Hugging Face folder with float32 weights, tokenizer and chat template. The recorded file was
made from SmolLM2-135M-Instruct.Q4_1.gguf, dequantised. Fields:

    probe_ids     the token ids whose logits are kept
    prompts       for ten prompts: ids, the last position's logits at probe_ids, its argmax and logsumexp,
                  and the argmax of every position
    greedy        for two prompts: ids, and the 64 ids that greedy decoding adds (end tokens ignored)
    texts         for two texts: text, ids, nats per predicted token (the first token is not predicted), perplexity
"""
import json
import math
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

CHATS = [
    [("user", "What is the capital of France?")],
    [("system", "You answer in one short sentence."), ("user", "Why is the sky blue?")],
    [("user", "Hi!"), ("assistant", "Hello! How can I help you today?"), ("user", "Write a haiku about 3 lighthouses.")],
    [("user", "Based on the text above: who keeps the light at Cinder Bay?\n\n# People\n\n- Keziah Quandt, keeper\n"
              "- Oswin Tarrow, pilot\n- 12 others")],
]
RAW = [
    "Once",
    "The quick brown fox jumps over the lazy dog. The quick brown fox",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Im Jahr 1979 wurde die Fähre \u201eMöwe\u201c gebaut. 日本語のテキスト、эмодзи 🙂🙃 и числа 1234567890.",
    "1, 1, 2, 3, 5, 8, 13, 21, 34,",
]
PROSE = (
    "The harbour of Cinder Bay was built in three stages. The first stone pier was laid by fishermen who were tired of "
    "dragging their boats up the shingle each evening, and it was never meant to last more than a few winters. When the "
    "railway reached the town, the company paid for a second pier, longer and straighter, so that coal could be loaded "
    "without waiting for the tide. The third stage came last and cost the most: a breakwater of rough granite blocks, "
    "each as heavy as a locomotive, lowered into the sea by a crane that had to be rebuilt twice after storms.\n\n"
    "People who live there still argue about whether it was worth the money. Those who own boats say that it has saved "
    "more lives than the lighthouse. Those who own the houses on the west side say that the beach has been shrinking "
    "since the day it was finished, because the sand that used to drift along the coast now settles on the other side "
    "of the wall. Both are right, and the town council, which has to pay for the repairs, has learned to listen to both "
    "with the same patient smile.")
OTHER = (
    "Photosynthesis is the process by which green plants, algae and some bacteria turn light into chemical energy. In "
    "the light reactions, chlorophyll absorbs photons and water is split, which releases oxygen; in the Calvin cycle, "
    "carbon dioxide is fixed into sugars.\n\n```python\ndef area(radius: float) -> float:\n    return 3.14159 * radius ** 2\n```\n")


def last_position(model, ids, probe):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    last = logits[-1]
    return {"ids": ids, "logits": [round(x, 5) for x in last[probe].tolist()], "argmax": int(last.argmax()),
            "logsumexp": round(float(last.double().logsumexp(-1)), 5), "argmax_of_each": logits.argmax(-1).tolist()}


def greedy(model, ids, n):
    ids, added = list(ids), []
    with torch.no_grad():
        for _ in range(n):
            added.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            ids.append(added[-1])
    return added


def nats(model, ids):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    return float(losses.mean())


def main(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    vocab = model.config.vocab_size
    probe = sorted({(i * 7919) % vocab for i in range(56)} | {0, 1, 2, 17, 198, 253, 260, vocab - 1})
    prompts = []
    for chat in CHATS:
        text = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in chat], tokenize=False, add_generation_prompt=True)
        prompts.append((text, tokenizer.encode(text, add_special_tokens=False)))
    prompts += [(text, tokenizer.encode(text, add_special_tokens=False)) for text in RAW]
    prompts.append((PROSE, tokenizer.encode(PROSE, add_special_tokens=False)[:200]))
    record = {"max_positions": model.config.max_position_embeddings, "probe_ids": probe, "prompts": [], "greedy": [], "texts": []}
    for text, ids in prompts:
        record["prompts"].append({"text": text} | last_position(model, ids, probe))
    for text, ids in (prompts[0], prompts[5]):
        record["greedy"].append({"text": text, "ids": ids, "continuation": greedy(model, ids, 64)})
    for text in (PROSE, OTHER):
        ids = tokenizer.encode(text, add_special_tokens=False)
        mean = nats(model, ids)
        record["texts"].append({"text": text, "ids": ids, "nats_per_token": round(mean, 7), "perplexity": round(math.exp(mean), 6)})
    print("{" + ",\n".join(
        f'{json.dumps(key)}: ' + ("[\n" + ",\n".join(json.dumps(x, ensure_ascii=False) for x in value) + "]"
                                  if isinstance(value, list) and isinstance(value[0], dict) else json.dumps(value))
        for key, value in record.items()) + "}")


if __name__ == "__main__":
    main(*sys.argv[1:2])

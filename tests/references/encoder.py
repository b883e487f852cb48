#!/usr/bin/env python3
"""Records the sentence vectors of sentence-transformers in float32: encoder.json.

    pip install sentence-transformers
    python tests/references/encoder.py MODEL_DIR > tests/references/encoder.json

MODEL_DIR is all-MiniLM-L6-v2. For each text: the number of tokens read (256 at most, marks included), and its
vector of length 1.
"""
import json
import sys

from sentence_transformers import SentenceTransformer

TEXTS = [
    "Where was Keziah Quandt born?",
    "Keziah Quandt was born in Cinder Bay in 1979 and keeps the lighthouse there.",
    "",
    "Die Fähre „Möwe“ fährt täglich; 日本語 🙂 <b>42</b>",
    "A bread dough of flour, water, salt and yeast rests for an hour before it is shaped and baked.",
    " ".join(f"Stone number {i} of the breakwater was lowered into the sea on a calm day." for i in range(40)),
]

model = SentenceTransformer(sys.argv[1], device="cpu")
model.max_seq_length = 256
vectors = model.encode(TEXTS, normalize_embeddings=True, batch_size=2)
print("[\n" + ",\n".join(json.dumps({
    "text": text,
    "n_tokens": min(256, len(model.tokenizer(text, padding=False, truncation=False)["input_ids"])),
    "vector": [round(float(x), 6) for x in vector],
}, ensure_ascii=False) for text, vector in zip(TEXTS, vectors)) + "\n]")

#!/usr/bin/env python3
"""Records a small SentencePiece vocabulary as GGUF files hold it, and what transformers makes of it: small_vocabulary.json.

    pip install sentencepiece protobuf transformers gguf torch
    python tests/references/small_vocabulary.py > tests/references/small_vocabulary.json

Trains a BPE vocabulary with byte fallback on the texts below, writes it into a GGUF file, and has transformers read that. Fields:
tokens, scores, types (as in tokenizer.ggml.*), cases: [text, ids of transformers, text that it decodes to].
"""
import io
import json
import os
import tempfile

import gguf
import numpy as np
import sentencepiece
from transformers import AutoTokenizer

TEXTS = [
    "The harbour of Cinder Bay was built in three stages, and the first pier was laid by fishermen.",
    "When the railway reached the town, the company paid for a second pier, longer and straighter.",
    "People who live there still argue about whether it was worth the money; both sides are right.",
    "Wer hat den Leuchtturm gebaut? Die Fischer, im Jahr 1979, mit 12 Booten und 340 Steinen.",
    "def area(radius): return 3.14159 * radius ** 2  # the area of a circle",
    "Élan, façade, naïve: words with accents are words too, and so are the others.",
]
CASES = TEXTS + [
    "", " ", "  two spaces", "trailing ", "the", "The harbour", "日本語 🙂", "naïve façade\n\n\tindented", "<s>the</s> pier", "a\u0301", "<0x0A>",
    "pier  pier   pier", "1979 and 12", "</s>", "unseen: Zürich Ω", "\u2581", "the<unk>town", "UPPER CASE TEXT", "x" * 40,
]

model = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS * 20), model_writer=model, vocab_size=420, model_type="bpe", byte_fallback=True,
    normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, minloglevel=2)
pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
n = pieces.get_piece_size()
tokens, scores = [pieces.id_to_piece(i) for i in range(n)], [pieces.get_score(i) for i in range(n)]
types = [2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1 for i in range(n)]

with tempfile.TemporaryDirectory() as folder:
    writer = gguf.GGUFWriter(os.path.join(folder, "small.gguf"), "llama")
    for name, value in [("context_length", 64), ("embedding_length", 8), ("block_count", 1), ("feed_forward_length", 8), ("head_count", 1),
                        ("head_count_kv", 1), ("layer_norm_rms_eps", 1e-5), ("vocab_size", n)]:
        getattr(writer, f"add_{name}")(value)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_tensor("token_embd.weight", np.zeros((n, 8), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="small.gguf")
    cases = []
    for text in CASES:
        ids = tokenizer.encode(text, add_special_tokens=False)
        cases.append([text, ids, tokenizer.decode(ids)])

print("{" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in [("tokens", tokens), ("scores", scores), ("types", types)])
      + ',\n"cases": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]}")

#!/usr/bin/env python3
"""Records the token ids that transformers gives to 1,000 varied strings: tokenizer.json.

    pip install transformers gguf
    python tests/references/tokenizer.py MODEL_DIR [--gguf FILE] > tests/references/tokenizer.json

MODEL_DIR holds a tokenizer.json, or with --gguf a GGUF file of that name. Each entry is [text, ids]; control tokens
in the text count as such, nothing is added. The same strings are made on every run.
"""
import argparse
import json
import random

from transformers import AutoTokenizer

WORDS = ("the of harbour lighthouse Quandt don't it's we'll I'M you're naïve façade Straße ÅNGSTRÖM isn\u2019t co-operate "
         "antidisestablishmentarianism x y2k 3D v1.2.3 e-mail http://example.org/a?b=c&d=%20 user@example.com #tag @name "
         "HTMLParser snake_case camelCase SCREAMING_CASE 0xDEADBEEF 1e-9 $12.50 50% C++ C# .NET ~/bin").split()
CJK = "日本語 中文字符 漢字かな交じり文 한국어 문장 ｶﾀｶﾅ 「引用」 。、・ 〇一二三 繁體字 东京タワー２０２４年".split()
RTL = "שלום עולם مرحبا بالعالم العربية ١٢٣٤ ۱۲۳ فارسی עִבְרִית \u200fabc\u200e".split()
OTHER = "Привет мир Ελληνικά ไทย हिन्दी नमस्ते தமிழ் አማርኛ Ünïcödé Tiếng Việt ქართული Հայերեն ᚠᛇᚻ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ ½ ² ³ Ⅻ ① ㊿".split()
COMBINING = ["e\u0301", "a\u0308o\u0308u\u0308", "Z\u0351\u036b\u0343a\u0321\u030al\u0334g\u0322\u0338o", "n\u0303", "\u0301", "क\u094dष", "\u1100\u1161\u11a8"]
EMOJI = ["🙂", "🙃🙃", "👩‍👩‍👧‍👦", "👍🏽", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️", "☺", "🧑‍🚀 to 🌕", "7️⃣", "🫠", "\U0001faf6"]
CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>", "<jupyter_code>", "<empty_output>", "<|im_start|",
           "<|IM_END|>", "<|im_start|>user\nHi<|im_end|>\n", "</s>", "<unk>", "[INST]", "<|im_end|><|im_end|>"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u200b", "\ufeff", "\x0b", "\x0c", "\x85", "\u2028", "\u1680", "\u180e"]
CONTROLS = ["\x00", "\x01", "\x07", "\x08", "\x1b[31m", "\x7f", "\x80", "\x9f", "\ufffd", "\ufffe", "\U0010ffff", "\ue000"]
DIGITS = ["0", "7", "42", "007", "1979", "12345678901234567890", "3.14159", "1,000,000", "-5", "+49 30 123456", "12:34:56", "2024-02-29", "٤٢", "४२", "１２３", "1/2", "10²"]
CODE = [
    "def f(x):\n    return x ** 2\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}", "fn main() -> Result<(), Box<dyn Error>> {\n    Ok(())\n}",
    "SELECT * FROM t WHERE a='b' AND c>=10;", "{\"a\": [1, 2, {\"b\": null}], \"c\": true}", "<div class=\"x\">&nbsp;</div>", "if (a&&b||!c) ? d : e;",
    "# Title\n\n1. one\n2. two\n\n- [ ] a\n- [x] b\n\n```sh\n$ ls -la | grep '^d'\n```\n", "| a | b |\n|---|---|\n|  1 |  22 |", "a\\b\\\\c", "%s %d %5.2f", "\\frac{a}{b} \\int_0^1 x^2 dx",
]
POOLS = [WORDS, CJK, RTL, OTHER, COMBINING, EMOJI, CONTROL, SPACES, CONTROLS, DIGITS, CODE]


def strings(n):
    """The empty text, every item of every pool alone, then random joins of a few."""
    random.seed(20)
    made = [""] + [item for pool in POOLS for item in pool]
    for width in (1, 2, 3, 4, 7, 16, 63):
        made += [" " * width, "\n" * width, "a" * width, "1" * width, " " * width + "x", " " * width + "1", "é" * width]
    while len(made) < n:
        kind = random.random()
        if kind < 0.4:  # words of one script, with spaces
            pool = random.choice(POOLS[:4])
            made.append(" ".join(random.choice(pool) for _ in range(random.randint(2, 8))))
        elif kind < 0.9:  # a bit of everything, joined by anything
            parts = [random.choice(random.choice(POOLS)) + random.choice(["", "", " ", "\n", "  ", ", ", "."]) for _ in range(random.randint(2, 6))]
            made.append("".join(parts))
        else:  # any characters at all
            made.append("".join(chr(random.choice([random.randint(0, 0x7f), random.randint(0x80, 0x7ff), random.randint(0x800, 0xd7ff),
                                                   random.randint(0xe000, 0xffff), random.randint(0x10000, 0x1ffff)])) for _ in range(random.randint(1, 12))))
    return made[:n]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model_dir")
    parser.add_argument("--gguf")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model_dir, **({"gguf_file": args.gguf} if args.gguf else {}))
    lines = [json.dumps([text, tokenizer.encode(text, add_special_tokens=False)], ensure_ascii=True, separators=(",", ":")) for text in strings(1000)]
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()

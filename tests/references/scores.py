#!/usr/bin/env python3
"""Records what SQuAD's official evaluate-v1.1.py makes of 300 answers: scores.json.

    python tests/references/scores.py > tests/references/scores.json

The four functions are those of the published script (Rajpurkar et al. 2016). Each entry is [answer, accepted, the
answer normalised, exact match, F1]. The same answers are made on every run.
"""
import json
import random
import re
import string
from collections import Counter


def normalize_answer(s):
    """Lower text and remove punctuation, articles and extra whitespace."""
    def remove_articles(text):
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    def lower(text):
        return text.lower()

    return white_space_fix(remove_articles(remove_punc(lower(s))))


def f1_score(prediction, ground_truth):
    prediction_tokens = normalize_answer(prediction).split()
    ground_truth_tokens = normalize_answer(ground_truth).split()
    common = Counter(prediction_tokens) & Counter(ground_truth_tokens)
    num_same = sum(common.values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def exact_match_score(prediction, ground_truth):
    return normalize_answer(prediction) == normalize_answer(ground_truth)


def metric_max_over_ground_truths(metric_fn, prediction, ground_truths):
    return max(metric_fn(prediction, ground_truth) for ground_truth in ground_truths)


ARTICLES = ["the", "The", "THE", "a", "A", "an", "An", "a.", "the,", "\u201cthe\u201d", "l\u2019a", "\u2014the\u2014", "an\u2026",
            "the\u00a0", "a\u0301", "(an)", "a-the", "the's"]
WORDS = ("Harrow Light Cinder Bay Keziah Quandt keeper's tower 1961 1,961 12.5 co-operate O'Brien e.g. Anthea theatre Anna area "
         "naïve FAÇADE Straße ÅNGSTRÖM İstanbul ΟΔΟΣ Привет Мир 日本語 東京タワー ﬁre Ⅻ ½ ² שלום 🙂 don\u2019t \u201cquoted\u201d \u00abword\u00bb "
         "\u00bfqué? \u00a342 50% C++ #tag user@example.org snake_case a1 \u0661\u0662 e\u0301tude light LIGHT bay tower tower").split()
SPACES = [" ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u2003", "\u3000", "\x1c", "\x1f", "\x85", "\u2028", "\u200b", "", "-", "\u2013", ", ", "; "]
ENDS = ["", "", ".", "!", "?", "...", "\u2026", "\u3002", "'", "\""]


def text(rng):
    parts = []
    for _ in range(rng.randint(0, 7)):
        parts += [rng.choice(ARTICLES if rng.random() < 0.3 else WORDS), rng.choice(SPACES)]
    return "".join(parts) + rng.choice(ENDS)


def variant(rng, answer):
    """The answer in other words, more or less."""
    kind = rng.randrange(6)
    words = answer.split(" ")
    if kind == 0:
        return rng.choice(["the ", "A ", ""]) + answer.upper() + rng.choice(ENDS)
    if kind == 1:
        return "".join(ch for ch in answer if ch not in string.punctuation)
    if kind == 2:
        rng.shuffle(words)
        return " ".join(words)
    if kind == 3:
        return " ".join(word for word in words if rng.random() < 0.6)
    if kind == 4:
        return " ".join(words + rng.sample(WORDS, 2))
    return text(rng)


def main():
    rng = random.Random(11)
    lines = []
    for i in range(300):
        answer = text(rng)
        if i % 5 == 4:  # any characters of the older blocks at all
            answer += "".join(chr(rng.choice([rng.randint(0x20, 0x24f), rng.randint(0x370, 0x52f), rng.randint(0x2000, 0x206f)]))
                              for _ in range(rng.randint(3, 12)))
        accepted = [variant(rng, answer) for _ in range(rng.randint(1, 3))]
        lines.append(json.dumps([answer, accepted, normalize_answer(answer),
                                 metric_max_over_ground_truths(exact_match_score, answer, accepted),
                                 metric_max_over_ground_truths(f1_score, answer, accepted)]))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()

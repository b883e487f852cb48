#!/usr/bin/env python3
"""Records what ranx computes of 60 questions with one or two right documents: ranks.json.

    pip install ranx
    python tests/references/ranks.py > tests/references/ranks.json

`ranks` are those of each question's right documents among the 32 that were found (null: not among them). `at` is a list
of [k, hit rate, recall, nDCG]: the hit rate is the share of questions with a right document among the first k. Of the
questions with one right document only, hit rate and recall are the same: `single_at` is a list of [k, recall]. `mrr` and
`single_mrr` are the mean reciprocal ranks.
"""
import json
import random

from ranx import Qrels, Run, evaluate

N_FOUND, KS = 32, (1, 2, 3, 5, 10, 32)


def measured(names, ranks):
    qrels, run = {}, {}
    for i, places in enumerate(ranks):
        right = [f"right-{j}" for j in range(len(places))]
        found = [f"wrong-{place}" for place in range(1, N_FOUND + 1)]
        for name, place in zip(right, places):
            if place is not None:
                found[place - 1] = name
        qrels[f"q{i}"] = {name: 1 for name in right}
        run[f"q{i}"] = {name: float(N_FOUND - at) for at, name in enumerate(found)}
    return [float(evaluate(Qrels(qrels), Run(run), name)) for name in names]


def main():
    rng = random.Random(9)
    ranks = []
    for i in range(60):
        places = rng.sample([1, 1, 1, 2, 2, 3] + list(range(1, N_FOUND + 1)), 8)
        distinct = list(dict.fromkeys(places))[: 2 if i % 3 == 0 else 1]
        ranks.append([None if rng.random() < 0.15 else place for place in distinct])
    single = [places for places in ranks if len(places) == 1]
    at = [[k, *measured([f"hit_rate@{k}", f"recall@{k}", f"ndcg@{k}"], ranks)] for k in KS]
    record = {
        "ranks": ranks,
        "mrr": measured(["mrr", "mrr@32"], ranks)[0],
        "single_mrr": measured(["mrr", "mrr@32"], single)[0],
        "at": at,
        "single_at": [[k, measured([f"recall@{k}", "mrr"], single)[0]] for k in KS],
    }
    print("{" + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in record.items()) + "}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes tests/golden/llama/smollm2_q4_1_greedy.json: llama.cpp's greedy continuations, judged at every position.

  python llama_greedy.py MODEL.gguf [--prompts FILE] [--out FILE] [--tokens N] [--logits DIR]

For every prompt: its ids and the N (64) ids that llama.cpp appends greedily; then, all of them fed at once, for every
position llama.cpp's most probable next id and its second one, the gap between their logits, and `error`, the largest
error of a logit of llama.cpp's at that position against float64. Where another engine's next token differs and the gap
is above twice the error, that engine is wrong.

--logits also writes DIR/NAME.npy, llama.cpp's logits (float32, positions x vocabulary).
"""
import argparse
import json
import pathlib

import numpy as np
from float64_llama import Float64Llama
from llamacpp import LlamaCpp
from measure import top_two

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/llama"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--prompts", type=pathlib.Path, default=GOLDEN / "prompts.json")
    parser.add_argument("--out", type=pathlib.Path, default=GOLDEN / "smollm2_q4_1_greedy.json")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--logits", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    prompts, rows = json.loads(args.prompts.read_text()), []
    with LlamaCpp(args.model, threads=args.threads) as llama:
        for prompt in prompts:
            ids = llama.tokenize(prompt["text"])
            answer, _ = llama.greedy(ids, args.tokens)
            rows.append({"name": prompt["name"], "prompt": ids, "continuation": answer})
        fed = [row["prompt"] + row["continuation"] for row in rows]
        for row, ids, exact in zip(rows, fed, Float64Llama(args.model).logits(fed)):
            logits = llama.logits(ids)
            if args.logits:
                args.logits.mkdir(parents=True, exist_ok=True)
                np.save(args.logits / f"{row['name']}.npy", logits)
            two, gap = top_two(logits)
            row["next"], row["second"] = two[:, 0].tolist(), two[:, 1].tolist()
            row["gap"] = [float(f"{g:.4g}") for g in gap]
            row["error"] = [float(f"{e:.4g}") for e in np.abs(logits - exact).max(-1)]
            print(f"{row['name']}: {len(ids)} positions; {llama.text(row['continuation'])!r}")
    header = {"model": args.model.name, "engine": "llama-cpp-python 0.3.16", "n_vocab": llama.n_vocab}
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    args.out.write_text(json.dumps(header)[:-1] + ', "prompts": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()

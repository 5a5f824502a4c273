#!/usr/bin/env python3
"""Prints greedy continuations side by side: tl's and llama.cpp's, each fed its own tokens.

  python free_running.py MODEL.gguf [--prompts FILE] [--tokens 64] [--json OUT.json] ...

The two may part at a near-tie and then go their own ways; where they do is marked, and the gap that llama.cpp saw there
between the two tokens is printed.
"""
import argparse
import json
import pathlib
import sys
import textwrap

from llamacpp import LlamaCpp
from tl_program import ROOT, Tl

WIDTH = 58


def side_by_side(left, right):
    def lines(text):
        return [row for line in text.split("\n") for row in textwrap.wrap(line, WIDTH) or [""]]

    a, b = lines(left), lines(right)
    for i in range(max(len(a), len(b))):
        yield f"  {a[i] if i < len(a) else '':{WIDTH}} | {b[i] if i < len(b) else ''}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--prompts", type=pathlib.Path, default=ROOT / "tests/golden/llama/prompts.json")
    parser.add_argument("--limit", type=int, help="only the first so many prompts")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--tl", type=pathlib.Path, help="default: $TL_BIN, else build/bin/tl")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("tl_options", nargs="*", help="after --: options for tl, such as --activations float32")
    args = parser.parse_args()

    tl, rows = Tl(args.tl, args.threads), []
    with LlamaCpp(args.model, threads=args.threads) as llama:
        print(f"  {'tl':{WIDTH}} | llama.cpp")
        for prompt in json.loads(args.prompts.read_text())[: args.limit]:
            ids = llama.tokenize(prompt["text"])
            theirs, logits = llama.greedy(ids, args.tokens)
            ours = tl.generate(args.model, ids, args.tokens, *args.tl_options)["tokens"]
            same = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
            row = {"prompt": prompt["name"], "tl": ours, "llama": theirs, "same": same}
            verdict = "the same" if ours == theirs else f"the same {same} tokens"
            if same < len(ours) and same < len(theirs):
                row["gap"] = float(logits[same, theirs[same]] - logits[same, ours[same]])
                pair = " / ".join(repr(llama.piece(t).decode("utf-8", "replace")) for t in (ours[same], theirs[same]))
                verdict += f", then {pair}, {row['gap']:.4f} apart in llama.cpp's logits"
            rows.append(row)
            print(f"\n--- {prompt['name']}: {verdict}")
            print(*side_by_side(llama.text(ours), llama.text(theirs)), sep="\n")
    print(f"\n{sum(r['tl'] == r['llama'] for r in rows)} of {len(rows)} continuations are the same")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

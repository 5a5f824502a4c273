#!/usr/bin/env python3
"""Compares tl's logits and llama.cpp's with float64, fed the same ids, and judges them.

  python compare_logits.py MODEL.gguf [--variants as_is,q8_0,f16,q4_0] [--prompts FILE] [--json OUT.json] ...

MODEL.gguf is SmolLM2-135M-Instruct Q4_1 (fetch_smollm2.sh); the other variants are made from it with `tl quantize`.
For each variant llama.cpp continues every prompt greedily by 64 tokens; prompt and continuation are then fed at once to
`tl --device cpu`, to `tl --device reference` (float64, the oracle) and to llama.cpp, and every position is compared. A
beginning that several prompts share is counted once.

Criteria, for all prompts together:
- The next token of tl and llama.cpp agree at every position but near-ties: where they differ, the gap of llama.cpp's
  logits of the two tokens is at most twice llama.cpp's own error (its largest at that position) against float64.
- F16 weights with float32 activations: KL(reference || tl) below 1e-6 nats, mean over positions.
- Quantised weights: that KL at most 1.1 times llama.cpp's.
The oracle itself is checked on --check prompts against float64_llama.py, which shares no code with it.
"""
import argparse
import json
import pathlib
import sys
import time

import numpy as np
from float64_llama import Float64Llama
from llamacpp import LlamaCpp
from measure import kl_divergence, relative_l2
from tl_program import ROOT, Tl

MAX_KL_F16 = 1e-6
MAX_KL_RATIO = 1.1
MAX_ORACLE_ERROR = 1e-5  # relative L2; weights decoded to float32 cost some 1e-7


class Pool:
    """Figures of one engine, gathered over all positions of all prompts."""

    def __init__(self):
        self.kl, self.largest, self.total, self.count, self.agrees = [], 0.0, 0.0, 0, 0

    def add(self, logits, reference):
        error = np.abs(logits - reference)
        self.kl.append(kl_divergence(reference, logits))
        self.largest = max(self.largest, float(error.max()))
        self.total += float(error.sum(dtype=np.float64))
        self.count += error.size
        self.agrees += int((logits.argmax(-1) == reference.argmax(-1)).sum())
        return error.max(-1)

    def figures(self):
        kl = np.concatenate(self.kl)
        return {"kl_mean": float(kl.mean()), "kl_max": float(kl.max()), "error_max": self.largest,
                "error_mean": self.total / self.count, "next_token_as_reference": self.agrees}


def kl_ratio(ours, theirs):
    """Ratio of the pooled means, and its standard error by leaving out one prompt at a time (jackknife)."""
    sums = np.array([[a.sum(), b.sum()] for a, b in zip(ours, theirs)])
    left = sums.sum(0) - sums
    left = left[:, 0] / left[:, 1]
    total = sums.sum(0)
    return float(total[0] / total[1]), float(np.sqrt((len(left) - 1) * left.var()))


def disagreements(name, first, ours, llama, reference, llama_error):
    a, b = ours.argmax(-1), llama.argmax(-1)
    for i in np.flatnonzero(a != b):
        gap = float(llama[i, b[i]] - llama[i, a[i]])
        yield {"prompt": name, "position": first + int(i), "tl": int(a[i]), "llama": int(b[i]),
               "reference": int(reference[i].argmax()), "gap": gap, "llama_error": float(llama_error[i]),
               "reference_gap": float(reference[i, b[i]] - reference[i, a[i]]),
               "near_tie": bool(gap <= 2 * llama_error[i])}


def compare(label, file, activations, prompts, args, tl):
    began = time.time()
    pools, found, oracle, seen = {"tl": Pool(), "llama": Pool()}, [], 0.0, set()
    with LlamaCpp(file, threads=args.threads) as llama:
        fed = [(p["name"], llama.tokenize(p["text"])) for p in prompts]
        fed = [(name, ids + llama.greedy(ids, args.tokens)[0]) for name, ids in fed]
        exact = Float64Llama(file).logits([ids for _, ids in fed[: args.check]])
        for name, ids in fed:
            reference = tl.logits(file, ids, "--device", "reference")
            ours = tl.logits(file, ids, "--device", "cpu", "--activations", activations)
            theirs = llama.logits(ids)
            for x in exact:
                oracle = max(oracle, relative_l2(reference, x))
                break
            beginnings = [tuple(ids[: i + 1]) for i in range(len(ids))]
            shared = sum(b in seen for b in beginnings)
            seen.update(beginnings)
            ours, theirs, reference = ours[shared:], theirs[shared:], reference[shared:]
            pools["tl"].add(ours, reference)
            llama_error = pools["llama"].add(theirs, reference)
            found += disagreements(name, shared, ours, theirs, reference, llama_error)
            print(f"  {label} {name}: {len(ids)} positions", file=sys.stderr, flush=True)
        for d in found:
            d["texts"] = [llama.piece(d[k]).decode("utf-8", "replace") for k in ("tl", "llama", "reference")]
    result = {"variant": label, "activations": activations, "prompts": len(fed), "positions": len(seen),
              "agreeing": len(seen) - len(found), "disagreements": found, "oracle_error": oracle,
              "tl": pools["tl"].figures(), "llama": pools["llama"].figures(), "seconds": time.time() - began}
    result["kl_ratio"], result["kl_ratio_error"] = kl_ratio(pools["tl"].kl, pools["llama"].kl)
    result["failures"] = list(failures(result))
    return result


def failures(r):
    for d in r["disagreements"]:
        if not d["near_tie"]:
            yield f"{d['prompt']} position {d['position']}: another token across a gap of {d['gap']:.4f}"
    if r["variant"] == "f16":
        if not r["tl"]["kl_mean"] < MAX_KL_F16:
            yield f"KL {r['tl']['kl_mean']:.3g} is not below {MAX_KL_F16:g}"
    elif not r["kl_ratio"] <= MAX_KL_RATIO:
        yield f"KL is {r['kl_ratio']:.3f} times llama.cpp's, above {MAX_KL_RATIO:g}"
    if not r["oracle_error"] <= MAX_ORACLE_ERROR:
        yield f"--device reference departs from float64_llama.py by {r['oracle_error']:.3g} (relative L2)"


ROWS = [
    ("activations", lambda r: r["activations"]),
    ("positions", lambda r: r["positions"]),
    ("next token: tl = llama.cpp", lambda r: r["agreeing"]),
    ("  differ, near-ties", lambda r: sum(d["near_tie"] for d in r["disagreements"])),
    ("  differ, no near-ties", lambda r: sum(not d["near_tie"] for d in r["disagreements"])),
    ("next token: tl = float64", lambda r: r["tl"]["next_token_as_reference"]),
    ("next token: llama.cpp = float64", lambda r: r["llama"]["next_token_as_reference"]),
    ("KL tl (mean, nats)", lambda r: f"{r['tl']['kl_mean']:.3e}"),
    ("KL llama.cpp", lambda r: f"{r['llama']['kl_mean']:.3e}"),
    ("KL ratio", lambda r: f"{r['kl_ratio']:.4f}"),
    ("  its standard error", lambda r: f"{r['kl_ratio_error']:.4f}"),
    ("KL tl (largest)", lambda r: f"{r['tl']['kl_max']:.3e}"),
    ("KL llama.cpp (largest)", lambda r: f"{r['llama']['kl_max']:.3e}"),
    ("logit error tl (mean)", lambda r: f"{r['tl']['error_mean']:.3e}"),
    ("logit error llama.cpp (mean)", lambda r: f"{r['llama']['error_mean']:.3e}"),
    ("logit error tl (largest)", lambda r: f"{r['tl']['error_max']:.3e}"),
    ("logit error llama.cpp (largest)", lambda r: f"{r['llama']['error_max']:.3e}"),
    ("oracle against NumPy (rel. L2)", lambda r: f"{r['oracle_error']:.1e}"),
    ("verdict", lambda r: "FAIL" if r["failures"] else "PASS"),
]


def report(results):
    print(f"{'':34}" + "".join(f"{r['variant']:>13}" for r in results))
    for title, value in ROWS:
        print(f"{title:34}" + "".join(f"{value(r):>13}" for r in results))
    if any(r["disagreements"] for r in results):
        print("\nPositions where the next token differs (gap: llama.cpp's logit of its token less that of tl's)")
        print(f"{'variant':8} {'prompt':18} {'pos':>4} {'tl':>14} {'llama.cpp':>14} {'float64':>14} {'gap':>8} "
              f"{'2 x error':>9}")
    for r in results:
        for d in r["disagreements"]:
            ours, theirs, exact = (repr(t)[:14] for t in d["texts"])
            print(f"{r['variant']:8} {d['prompt'][:18]:18} {d['position']:4} {ours:>14} {theirs:>14} {exact:>14} "
                  f"{d['gap']:8.4f} {2 * d['llama_error']:9.4f} {'near-tie' if d['near_tie'] else 'NOT A TIE'}")
    for r in results:
        for message in r["failures"]:
            print(f"FAIL {r['variant']}: {message}")
    print("FAIL" if any(r["failures"] for r in results) else "PASS")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--variants", default="as_is,q8_0,f16,q4_0")
    parser.add_argument("--prompts", type=pathlib.Path, default=ROOT / "tests/golden/llama/prompts.json")
    parser.add_argument("--limit", type=int, help="only the first so many prompts")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--check", type=int, default=2, help="prompts on which the oracle is checked")
    parser.add_argument("--tl", type=pathlib.Path, help="default: $TL_BIN, else build/bin/tl")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / ".cache/reference", help="for quantised files")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()

    tl = Tl(args.tl, args.threads)
    prompts = json.loads(args.prompts.read_text())[: args.limit]
    results = []
    for variant in args.variants.split(","):
        file = args.model if variant == "as_is" else tl.quantized(args.model, args.work, variant)
        results.append(compare(variant, file, "float32" if variant == "f16" else "q8", prompts, args, tl))
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n")
    report(results)
    return 1 if any(r["failures"] for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())

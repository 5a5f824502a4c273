#!/usr/bin/env python3
"""What the type of the KV cache costs: KL(float64 || cpu) of the next-token distributions, and the share of positions
whose most probable token is another one than in float64.

Usage: tools/reference/cache_types.py MODEL TEXT [--tokens 400] [--tl PROGRAM] [--threads N]
"""
import argparse
import itertools
import json
import pathlib

import numpy as np

from measure import kl_divergence
from tl_program import Tl

TYPES = ("f32", "f16", "q8_0")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--tl")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    tl = Tl(options.tl, options.threads)
    ids = json.loads(tl.run("tokenize", options.model, "-f", options.text, "--json"))["ids"][: options.tokens]
    exact = tl.logits(options.model, ids, "--device", "reference")
    print(f"{len(ids)} tokens; nats, mean over positions (standard error)")
    print(f"{'keys':<6} {'values':<6} {'KL':>18} {'other token':>12}")
    for keys, values in itertools.product(TYPES, TYPES):
        if keys != values and "f16" in (keys, values):
            continue
        logits = tl.logits(options.model, ids, "--cache-type-k", keys, "--cache-type-v", values)
        kl = kl_divergence(exact, logits)
        other = np.mean(exact.argmax(-1) != logits.argmax(-1))
        error = kl.std() / np.sqrt(len(kl))
        print(f"{keys:<6} {values:<6} {kl.mean():9.2e} ({error:.0e}) {other:12.2%}")


if __name__ == "__main__":
    main()

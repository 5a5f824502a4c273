#!/usr/bin/env python3
"""Writes what llama.cpp computes, tensor by tensor, as a trace that `tl compare` reads.

  python llamacpp_trace.py MODEL.gguf (-p TEXT | --tokens 1,2,3) -o llama.tlt [--names GLOB] [--kv f32] [--repack]

Every tensor of llama.cpp's graph that its source gives a name is recorded (l_out-3, attn_norm-3 …), after its last use of
that name in a layer: Qcur-3 is the rotated query. Shapes are NumPy's, outermost first. Attention weights
(kq_soft_max-3) are cut to the keys that exist; llama.cpp pads them.
"""
import argparse
import ctypes
import fnmatch
import pathlib
import re
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import tlt  # noqa: E402
from llamacpp import GGML, LlamaCpp  # noqa: E402

UNNAMED = re.compile(r"^(node|leaf)_\d+$|\((view|reshaped|permuted|transposed|cont|copy)[^)]*\)")


class Everything:
    """Says yes to the names that are wanted: what LlamaCpp asks of its `capture`."""

    def __init__(self, pattern):
        self.pattern, self.order = pattern, []

    def __contains__(self, name):
        return bool(name) and not UNNAMED.search(name) and fnmatch.fnmatchcase(name, self.pattern)

    def __bool__(self):
        return True


class Tracer(LlamaCpp):
    """LlamaCpp that keeps shapes, and the last tensor of a name."""

    def __init__(self, path, pattern, **options):
        super().__init__(path, capture=("",), **options)  # any: so that the callback is set
        self.wanted = Everything(pattern)

    def _evaluated(self, tensor, ask, _):
        name = GGML.ggml_get_name(tensor).decode()
        if ask:
            return name in self.wanted
        n, rows = GGML.ggml_nelements(tensor), GGML.ggml_nrows(tensor)
        shape = [rows, n // rows]
        out = np.empty(n, np.float32)
        if GGML.ggml_is_contiguous(tensor) and GGML.ggml_nbytes(tensor) == out.nbytes:
            GGML.ggml_backend_tensor_get(tensor, out.ctypes.data, 0, out.nbytes)
            self.values.pop(name, None)  # the last of a name counts, at its place
            self.values[name] = out.reshape(shape)
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("-o", "--out", required=True)
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("-p", "--prompt")
    prompt.add_argument("--tokens")
    parser.add_argument("--names", default="*", help="record the tensors whose names match")
    parser.add_argument("--kv", choices=["f16", "f32"], default="f32", help="type of the KV cache; llama.cpp's own is f16")
    parser.add_argument("--repack", action="store_true", help="let llama.cpp rearrange weights, as it does by itself")
    parser.add_argument("-t", "--threads", type=int, default=2)
    args = parser.parse_args()

    for name in ("ggml_is_contiguous", "ggml_nbytes"):
        getattr(GGML, name).argtypes = [ctypes.c_void_p]
    GGML.ggml_is_contiguous.restype, GGML.ggml_nbytes.restype = ctypes.c_bool, ctypes.c_size_t
    with Tracer(args.model, args.names, threads=args.threads, kv=args.kv, repack=args.repack) as llama:
        ids = [int(i) for i in args.tokens.split(",")] if args.tokens else llama.tokenize(args.prompt)
        llama.logits(ids)
        values = llama.values
    with tlt.Writer(args.out, tool="llama.cpp", model=str(args.model), device="cpu", activations="q8", tokens=ids) as out:
        for name, value in values.items():
            if name.startswith("kq_soft_max"):
                value = np.ascontiguousarray(value[:, : len(ids)])
            out.add(name, value)
    print(f"{args.out}: {len(values)} values of {len(ids)} tokens")


if __name__ == "__main__":
    main()

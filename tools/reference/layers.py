#!/usr/bin/env python3
"""Follows a model's numbers through its layers: tl on both backends, llama.cpp, and float64 in NumPy.

  python layers.py [MODEL.gguf] [--layers 0,1,2,10,22] [--rows 24] [--json OUT.json] ...

Without MODEL a TinyLlama-shaped one with random weights is made (`tl synth`: 22 layers, Q4_0, output Q6_K; 640 MB).
For every K the logits of the first K layers, followed by final norm and output, are compared as relative L2 over all
rows of the same random ids:

  cpu         tl --device cpu against tl --device reference
  perturbed   float64 against itself with every activation that meets a quantised weight disturbed by uniform noise of
              half an 8-bit step: what such rounding does, whichever way the bits fall (mean, then largest of --seeds)
  rounded     float64 with those activations rounded to 8 bits per block of 32 instead
  llama       llama.cpp against tl --device reference
  cpu-llama   tl --device cpu against llama.cpp
  llama-own   the largest distance between llama.cpp's ways of computing the same: weights repacked or not, one row at a
              time or all, KV cache f16 or f32
  oracle      tl --device reference against NumPy's float64

llama.cpp runs a file cut after K layers. Its eval callback gives the residual stream after every layer of the whole
model, which is compared with float64's in the second table, and with the rounded run's.

Criteria, for the model made here: cpu at most the mean of `perturbed` plus three standard deviations; cpu-llama at most
1.1 times llama-own (at 0 layers, where all of llama.cpp's ways share one kernel, as far apart as independent roundings:
the root of the sum of the squares of perturbed and llama); oracle at most 1e-5; resident memory of tl at most 1.15
times the file and the KV cache.
"""
import argparse
import json
import pathlib
import sys

import gguf
import numpy as np
from float64_llama import Float64Llama, Run, noisy, rounded
from llamacpp import LlamaCpp
from measure import relative_l2
from tl_program import ROOT, Tl

CONTEXT = 512
COLUMNS = ["cpu", "perturbed", "perturbed_max", "rounded", "llama", "cpu-llama", "llama-own", "oracle"]


def cut(path, n_layers, out):
    """Writes the first n_layers of a GGUF model, with the rest of it as it was. llama.cpp runs no model without
    layers: 0 keeps one whose attention and feed-forward add nothing, their last weights being 0."""
    if out.exists() and out.stat().st_mtime > path.stat().st_mtime:
        return out
    reader, kept = gguf.GGUFReader(path), max(n_layers, 1)
    arch = reader.get_field("general.architecture").contents()
    writer = gguf.GGUFWriter(out, arch)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            value = kept if name == f"{arch}.block_count" else field.contents()
            is_array = field.types[0] == gguf.GGUFValueType.ARRAY
            writer.add_key_value(name, value, field.types[0], field.types[-1] if is_array else None)
    for t in reader.tensors:
        part = t.name.split(".")
        if part[0] == "blk" and int(part[1]) >= kept:
            continue
        silent = n_layers == 0 and part[0] == "blk" and part[2] in ("attn_output", "ffn_down")
        writer.add_tensor(t.name, np.zeros_like(t.data) if silent else t.data, raw_dtype=t.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


class Float64:
    """Logits at chosen depths and the residual stream at all: exact, rounded, and disturbed by several seeds."""

    def __init__(self, path, ids, depths, n_seeds):
        model = Float64Llama(path)
        self.n_layers = model.n_layers
        runs = [Run(ids), Run(ids, rounded), *(Run(ids, noisy, seed) for seed in range(n_seeds))]
        self.logits, self.stream, self.rounded_stream = {}, {}, {}
        for k in model.forward(runs):
            self.stream[k], self.rounded_stream[k] = runs[0].x, relative_l2(runs[1].x, runs[0].x)
            if k in depths:
                self.logits[k] = model.head(runs)
            print(f"  float64: {k} layers", file=sys.stderr, flush=True)

    def figures(self, k):
        exact, rounded_, *noisy_ = self.logits[k]
        effect = [relative_l2(x, exact) for x in noisy_]
        return {"perturbed": float(np.mean(effect)), "perturbed_max": float(np.max(effect)),
                "perturbed_std": float(np.std(effect, ddof=1)), "rounded": relative_l2(rounded_, exact)}


def llama_ways(path, ids, threads):
    """llama.cpp's logits, computed in each of the ways that it has."""
    ways = {}
    for repack in (True, False):
        for kv in ("f16", "f32"):
            with LlamaCpp(path, n_ctx=CONTEXT, threads=threads, kv=kv, repack=repack) as llama:
                ways[repack, kv, "all"] = llama.logits(ids)
                ways[repack, kv, "one"] = llama.logits(ids, step=1)
    return list(ways.values())  # the first is llama.cpp's default


def stream_table(path, ids, threads, f64):
    names = {0: "inp_embd", **{k: f"l_out-{k - 1}" for k in range(1, f64.n_layers + 1)}}
    with LlamaCpp(path, n_ctx=CONTEXT, threads=threads, capture=names.values()) as llama:
        llama.logits(ids)
        return [{"layers": k, "llama": relative_l2(llama.values[name], f64.stream[k]), "rounded": f64.rounded_stream[k],
                 "rms": float(np.sqrt((f64.stream[k] ** 2).mean()))} for k, name in names.items()]


def compare(path, k, ids, f64, tl, args):
    row = {"layers": k, **f64.figures(k)}
    reference = tl.logits(path, ids, "--layers", k, "--device", "reference", "-c", CONTEXT)
    cpu = tl.logits(path, ids, "--layers", k, "--device", "cpu", "-c", CONTEXT)
    ways = llama_ways(cut(path, k, args.work / f"{path.stem}.{k}-layers.gguf") if k < f64.n_layers else path, ids,
                      args.threads)
    row["cpu"], row["llama"] = relative_l2(cpu, reference), relative_l2(ways[0], reference)
    row["cpu-llama"], row["oracle"] = relative_l2(cpu, ways[0]), relative_l2(reference, f64.logits[k][0])
    row["llama-own"] = max(relative_l2(a, b) for a in ways for b in ways)
    return row


def failures(row):
    k, bound = row["layers"], row["perturbed"] + 3 * row["perturbed_std"]
    if not row["cpu"] <= bound:
        yield f"{k} layers: cpu departs by {row['cpu']:.3g}, above the {bound:.3g} that rounding explains"
    bound = 1.1 * row["llama-own"] if k > 0 else float(np.hypot(row["perturbed"], row["llama"]))
    if not row["cpu-llama"] <= bound:
        yield f"{k} layers: {row['cpu-llama']:.3g} from llama.cpp, above {bound:.3g}"
    if not row["oracle"] <= 1e-5:
        yield f"{k} layers: --device reference departs from NumPy's float64 by {row['oracle']:.3g}"


def memory(path, tl):
    """Peak resident bytes of a run on the whole model, against file and KV cache (float32 keys and values)."""
    model, ids = Float64Llama(path), ",".join(["5"] * (CONTEXT // 2))
    peak = tl.peak_bytes("generate", path, "--tokens", ids, "-n", 16, "--temp", 0, "--ignore-eos", "-c", CONTEXT)
    cache, file = 2 * 4 * CONTEXT * model.n_layers * model.n_kv_heads * model.head_dim, path.stat().st_size
    return {"peak_bytes": peak, "file_bytes": file, "kv_cache_bytes": cache, "ratio": (peak - cache) / file}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, nargs="?")
    parser.add_argument("--layers", default="0,1,2,10,22")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tl", type=pathlib.Path, help="default: $TL_BIN, else build/bin/tl")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / ".cache/reference", help="for models made here")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()

    tl, path = Tl(args.tl, args.threads), args.model or args.work / "tinyllama-shape.gguf"
    args.work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        tl.run("synth", path)
    depths = [int(k) for k in args.layers.split(",")]
    n_vocab = len(gguf.GGUFReader(path).get_field("tokenizer.ggml.tokens").data)
    ids = np.random.default_rng(7).integers(3, n_vocab, args.rows).tolist()

    f64 = Float64(path, ids, depths, args.seeds)
    rows = []
    print(f"{'layers':>6}" + "".join(f"{c:>14}" for c in COLUMNS))
    for k in depths:
        rows.append(compare(path, k, ids, f64, tl, args))
        print(f"{k:6}" + "".join(f"{rows[-1][c]:14.3e}" for c in COLUMNS), flush=True)
    stream = stream_table(path, ids, args.threads, f64)
    print("\nResidual stream after each layer, against float64\nlayers        llama       rounded  RMS of values")
    for s in stream:
        print(f"{s['layers']:6} {s['llama']:12.3e}  {s['rounded']:12.3e}   {s['rms']:12.3e}")
    resident = memory(path, tl)
    peak, file, cache = (resident[k] / 2**20 for k in ("peak_bytes", "file_bytes", "kv_cache_bytes"))
    print(f"\nresident memory {peak:.0f} MiB, file {file:.0f} MiB, KV cache {cache:.0f} MiB: "
          f"without the cache {resident['ratio']:.3f} times the file")
    found = [f for row in rows for f in failures(row)]
    if not resident["ratio"] <= 1.15:
        found.append(f"resident memory without the KV cache is {resident['ratio']:.3f} times the file")
    if args.json:
        everything = {"logits": rows, "stream": stream, "memory": resident, "failures": found}
        args.json.write_text(json.dumps(everything, indent=1) + "\n")
    print(*(f"FAIL {f}" for f in found), "FAIL" if found else "PASS", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
r"""Speed beside llama.cpp's on the same files, cores and tests, in turns.

    .cache/reference-venv/bin/python bench/compare_llama_cpp.py MODEL... [-p 512] [-n 128] [-d 0] [-t 1,2] [-r 5] [--isa NAME] [--json FILE]

Every round runs `tl bench` once and llama.cpp (through llama-cpp-python, built for this processor by
tools/reference/setup_venv.sh) once, each in a process of its own; the table shows medians over the rounds, the range of the
ratios, and the peak memory of both. Before its tests each process times its first token: opening the model and feeding a
prompt of 16 tokens (row "first token", in seconds; llama.cpp's without starting Python). llama.cpp runs with and without
flash attention (--flash on|off|both), its weights repacked as it does by default. --isa lowers the instruction set of
`tl bench` (TL_CPU_ISA); a llama.cpp of the same set is one built for it, with

    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF" \
        pip install llama_cpp_python==0.3.16

Figures of a busy machine are worth little; the ratios of one round are less touched by that.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def some_ids(n, n_vocab):
    """The ids of tl bench."""
    state, ids = 1, []
    for _ in range(n):
        state = (state * 1664525 + 1013904223) % 2**32
        ids.append((state >> 8) % n_vocab)
    return ids


def tests_of(args):
    """(kind, tokens, depth) of every test."""
    kinds = [("pp", n) for n in args.n_prompt if n] + [("tg", n) for n in args.n_gen if n]
    return [(kind, n, depth) for depth in args.n_depth for kind, n in kinds]


def name_of(kind, n, depth):
    return f"{kind}{n}" + (f" @ d{depth}" if depth else "")


def run_llama(args):
    """In a process of its own: each test once to warm up, once measured; prints JSON."""
    sys.path.insert(0, str(ROOT / "tools/reference"))
    import llama_cpp
    from llamacpp import LlamaCpp

    tests = tests_of(args)
    n_ctx = max(16, *(n + depth for _, n, depth in tests))
    speeds = {}
    begin = time.perf_counter()
    with LlamaCpp(args.models[0], n_ctx=n_ctx, threads=args.threads[0], flash=args.flash == "on") as llama:

        def feed(ids, position, step):
            batch = llama.batch
            for begin in range(0, len(ids), step):
                part = ids[begin : begin + step]
                for i, token in enumerate(part):
                    batch.token[i], batch.pos[i] = token, position + begin + i
                    batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
                    batch.logits[i] = i + 1 == len(part)
                batch.n_tokens = len(part)
                if llama_cpp.llama_decode(llama.context, batch) != 0:
                    raise SystemExit("llama_decode failed")
            llama_cpp.llama_synchronize(llama.context)

        feed(some_ids(16, llama.n_vocab), 0, 16)
        first_token = time.perf_counter() - begin
        memory = llama_cpp.llama_get_memory(llama.context)
        for kind, n, depth in tests:
            llama_cpp.llama_memory_clear(memory, True)
            feed(some_ids(depth, llama.n_vocab), 0, 512)
            for tokens in (min(n, 512), n):  # once to warm up
                llama_cpp.llama_memory_seq_rm(memory, 0, depth, -1)
                start = time.perf_counter()
                feed(some_ids(tokens, llama.n_vocab), depth, 512 if kind == "pp" else 1)
                speeds[name_of(kind, n, depth)] = n / (time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"speeds": speeds, "first_token": first_token, "peak": peak}))


def output_of(command, **environment):
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def run_tl(args, model, threads):
    lists = [("-p", args.n_prompt), ("-n", args.n_gen), ("-d", args.n_depth), ("-t", [threads]), ("-r", [1])]
    flags = [word for flag, values in lists for word in (flag, ",".join(map(str, values)))]
    report = output_of([args.tl, "bench", model, "--json", *flags], **({"TL_CPU_ISA": args.isa} if args.isa else {}))
    speeds = {t["test"]: t["tokens_per_second"] for t in report["tests"]}
    first_token = report["starts"][0]["first_token_seconds"]
    return {"speeds": speeds, "first_token": first_token, "peak": report["peak_memory_bytes"]}


def run_llama_process(args, model, threads, flash):
    lists = [("-p", args.n_prompt), ("-n", args.n_gen), ("-d", args.n_depth), ("-t", [threads])]
    flags = [word for flag, values in lists for word in (flag, ",".join(map(str, values)))]
    return output_of([sys.executable, __file__, model, "--worker", "--flash", flash, *flags])


def compare(args, model, threads):
    flashes = ["off", "on"] if args.flash == "both" else [args.flash]
    rounds = []
    for _ in range(args.rounds):
        results = {"tl": run_tl(args, model, threads)}
        for flash in flashes:
            results[flash] = run_llama_process(args, model, threads, flash)
        rounds.append(results)
    median = lambda engine, test: statistics.median(r[engine]["speeds"][test] for r in rounds)
    rows = []
    for test in (name_of(*t) for t in tests_of(args)):
        best = max(flashes, key=lambda flash: median(flash, test))
        ratios = sorted(r["tl"]["speeds"][test] / r[best]["speeds"][test] for r in rounds)
        row = {"model": model, "threads": threads, "test": test, "tl": median("tl", test), "best": best}
        row |= {f"llama_flash_{flash}": median(flash, test) for flash in flashes}
        row |= {"ratio": statistics.median(ratios), "ratio_from": ratios[0], "ratio_to": ratios[-1]}
        row |= {"tl_peak": max(r["tl"]["peak"] for r in rounds), "llama_peak": max(r[best]["peak"] for r in rounds)}
        rows.append(row)
        print(f"{pathlib.Path(model).name:36} {threads:>7} {test:>14} {row['tl']:>9.2f} {row[f'llama_flash_{best}']:>9.2f} "
              f"{best:>5} {row['ratio']:>6.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f}) {row['tl_peak'] / 2**20:>8.0f} "
              f"{row['llama_peak'] / 2**20:>9.0f}", flush=True)
    seconds = lambda engine: statistics.median(r[engine]["first_token"] for r in rounds)
    best = min(flashes, key=seconds)
    ratios = sorted(r["tl"]["first_token"] / r[best]["first_token"] for r in rounds)
    row = {"model": model, "threads": threads, "test": "first token", "tl": seconds("tl"), "best": best}
    row |= {"llama": seconds(best), "ratio": statistics.median(ratios), "ratio_from": ratios[0], "ratio_to": ratios[-1]}
    rows.append(row)
    print(f"{pathlib.Path(model).name:36} {threads:>7} {row['test']:>14} {row['tl']:>9.3f} {row['llama']:>9.3f} "
          f"{best:>5} {row['ratio']:>6.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)
    return rows


def main():
    numbers = lambda text: [int(n) for n in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="GGUF files")
    parser.add_argument("-p", "--n-prompt", type=numbers, default=[512])
    parser.add_argument("-n", "--n-gen", type=numbers, default=[128])
    parser.add_argument("-d", "--n-depth", type=numbers, default=[0])
    parser.add_argument("-t", "--threads", type=numbers, default=[1, 2])
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--flash", choices=["on", "off", "both"], default="both", help="llama.cpp's flash attention")
    parser.add_argument("--isa", help="instruction set of tl bench: avx2, portable, …; its best one without this")
    parser.add_argument("--tl", default=os.environ.get("TL_BIN", str(ROOT / "build/bin/tl")))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return run_llama(args)
    print(f"{'model':36} {'threads':>7} {'test':>14} {'tl':>9} {'llama.cpp':>9} {'flash':>5} {'ratio':>6} {'':16} "
          f"{'tl MiB':>8} {'llama MiB':>9}")
    rows = [row for model in args.models for threads in args.threads for row in compare(args, model, threads)]
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The speed of the interpreter against CPython on this machine, and the cost of a decode step outside kernels.

Usage: bench/interpreter.py [--build DIR] [--rounds N] [--json]

Needs a build with -DTL_BENCH=ON. Each program is written twice, in the language and in Python; both time themselves, the
two take turns, and the table shows medians. A program prints the seconds that its measured part took. The step is that of
models/llama.tl on a 22-layer model of small random weights (bench/step_bench.cpp).
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# name -> (units of work, the program, the same in Python)
LOOP = 10_000_000
SMALL = 1_000_000
PROGRAMS = {
    "integer additions, for loop": (
        LOOP,
        f"let s = 0\nfor i in 0..{LOOP} {{\n    s = s + i\n}}",
        f"s = 0\nfor i in range({LOOP}):\n    s = s + i",
    ),
    "integer additions, while loop": (
        LOOP,
        f"let s = 0\nlet i = 0\nwhile i < {LOOP} {{\n    s += i\n    i += 1\n}}",
        f"s = 0\ni = 0\nwhile i < {LOOP}:\n    s += i\n    i += 1",
    ),
    "call of a two-line function": (
        SMALL,
        f"let s = 0\nfor i in 0..{SMALL} {{\n    s = step(s, i)\n}}",
        f"s = 0\nfor i in range({SMALL}):\n    s = step(s, i)",
    ),
    "call with a keyword and a default": (
        SMALL,
        f"let s = 0\nfor i in 0..{SMALL} {{\n    s = scale(i, by: 3)\n}}",
        f"s = 0\nfor i in range({SMALL}):\n    s = scale(i, by=3)",
    ),
    "recursion: fib(24)": (
        75025,
        "let s = fib(24)",
        "s = fib(24)",
    ),
    "float arithmetic": (
        SMALL,
        f"let s = 0.0\nfor i in 0..{SMALL} {{\n    s = s * 0.5 + float(i)\n}}",
        f"s = 0.0\nfor i in range({SMALL}):\n    s = s * 0.5 + float(i)",
    ),
    "list elements": (
        SMALL,
        f"let xs = [0, 0, 0, 0]\nfor i in 0..{SMALL} {{\n    xs[i % 4] = xs[(i + 1) % 4] + i\n}}",
        f"xs = [0, 0, 0, 0]\nfor i in range({SMALL}):\n    xs[i % 4] = xs[(i + 1) % 4] + i",
    ),
    "record fields": (
        SMALL,
        f"let r = {{a: 1, b: 2}}\nlet s = 0\nfor i in 0..{SMALL} {{\n    s = s + r.b\n}}",
        f"class R: pass\nr = R()\nr.a, r.b = 1, 2\ns = 0\nfor i in range({SMALL}):\n    s = s + r.b",
    ),
}

TL_FUNCTIONS = """
fn step(a: int, b: int) {
    let c = a + b
    return c % 1000
}
fn scale(x, offset = 1, by = 2) {
    return x * by + offset
}
fn fib(n) {
    if n < 2 { return n }
    return fib(n - 1) + fib(n - 2)
}
"""
PYTHON_FUNCTIONS = """
import time
def step(a: int, b: int):
    c = a + b
    return c % 1000
def scale(x, offset=1, by=2):
    return x * by + offset
def fib(n):
    if n < 2: return n
    return fib(n - 1) + fib(n - 2)
"""


def indented(text):
    return "\n".join("    " + line for line in text.splitlines())


def tl_program(body):
    return f"{TL_FUNCTIONS}main {{\n    let begin = time()\n{indented(body)}\n    print(time() - begin)\n}}\n"


def python_program(body):
    return (f"{PYTHON_FUNCTIONS}\ndef main():\n    begin = time.perf_counter()\n{indented(body)}\n"
            "    print(time.perf_counter() - begin)\nmain()\n")


def seconds(command):
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_programs(tl, rounds, folder):
    files = {}
    for i, (name, (_, ours, theirs)) in enumerate(PROGRAMS.items()):
        files[name] = folder / f"p{i}.tl", folder / f"p{i}.py"
        files[name][0].write_text(tl_program(ours))
        files[name][1].write_text(python_program(theirs))
    taken = {name: ([], []) for name in PROGRAMS}
    for _ in range(rounds):
        for name, (ours, theirs) in files.items():
            taken[name][0].append(seconds([tl, "run", ours]))
            taken[name][1].append(seconds([sys.executable, theirs]))
    rows = []
    for name, (count, _, _) in PROGRAMS.items():
        ours, theirs = (statistics.median(t) for t in taken[name])
        rows.append({"what": name, "count": count, "tensorlogic_s": ours, "cpython_s": theirs, "ratio": ours / theirs})
    return rows


def measure_step(tl, bench, rounds, folder):
    model = folder / "step.gguf"
    subprocess.run([tl, "synth", model, "--layers", "22", "--hidden", "64", "--ffn", "128", "--heads", "4", "--kv-heads",
                    "2", "--vocab", "512", "--type", "q8_0"], check=True, capture_output=True)
    runs = [json.loads(subprocess.run([bench, model, ROOT / "models"], check=True, capture_output=True, text=True).stdout)
            for _ in range(rounds)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="the build folder (default: build)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each program runs (default: 5)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    tl, bench = arguments.build / "bin" / "tl", arguments.build / "bin" / "step_bench"
    for program in (tl, bench):
        if not program.exists():
            sys.exit(f"{program} is missing: build with cmake -DTL_BENCH=ON")
    with tempfile.TemporaryDirectory() as name:
        programs = measure_programs(tl, arguments.rounds, pathlib.Path(name))
        step = measure_step(tl, bench, arguments.rounds, pathlib.Path(name))
    if arguments.json:
        print(json.dumps({"python": sys.version.split()[0], "programs": programs, "step_ms": step}, indent=2))
        return
    print(f"{'':36}{'TensorLogic':>14}{'CPython ' + sys.version.split()[0]:>18}{'ratio':>8}")
    for row in programs:
        ours, theirs = (row[key] / row["count"] * 1e9 for key in ("tensorlogic_s", "cpython_s"))
        print(f"{row['what']:36}{ours:>11.1f} ns{theirs:>15.1f} ns{row['ratio']:>8.2f}")
    print(f"\none decode step of 22 layers, {step['nodes']:.0f} nodes, kernels replaced by nothing")
    for key, text in (("build", "building the graph"), ("release", "releasing it"), ("trace", "tracing"),
                      ("structure", "spelling the structure"), ("compute", "trace, plan lookup and executor"),
                      ("step", "the whole step")):
        print(f"  {text:34}{step[key]:>11.3f} ms")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times product equations beside NumPy's einsum on the same cores.

    python3 bench/einsum.py [--tl build/bin/tl] [--rounds 9] [--only SUBSTRING] [--threads N]

For each of 20 equations of odd and large shapes, tl and numpy.einsum(…, optimize=True) take turns in one run. The table
shows the medians and how many times faster tl is. Both compute float32; the results are compared. --cpu counts processor
time instead of the clock's, which also holds on a machine that does other work.
"""

import argparse
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# Another machine's kernels and cache size must not be forced on NumPy's BLAS; it has to be told before it loads.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

EQUATIONS = [
    ("product", "ij,jk->ik", dict(i=1021, j=1019, k=1031)),
    ("product, rows with rows", "ij,kj->ik", dict(i=777, j=1543, k=1029)),
    ("product, columns with columns", "ji,jk->ik", dict(i=701, j=1537, k=903)),
    ("product, turned", "ij,jk->ki", dict(i=911, j=1201, k=613)),
    ("product of a long side", "ij,jk->ik", dict(i=33, j=20011, k=65)),
    ("product with few columns", "ij,jk->ik", dict(i=8009, j=1009, k=7)),
    ("batched product", "bij,bjk->bik", dict(b=37, i=129, j=131, k=127)),
    ("attention scores", "ihd,jhd->hij", dict(i=257, h=9, d=65, j=259)),
    ("attention values", "hij,jhd->ihd", dict(i=257, h=9, d=65, j=259)),
    ("matrix and vector", "ij,j->i", dict(i=4099, j=4111)),
    ("vector and matrix", "i,ij->j", dict(i=4099, j=4111)),
    ("outer product", "i,j->ij", dict(i=3001, j=3203)),
    ("inner product", "ij,ij->", dict(i=3001, j=2003)),
    ("inner product of rows", "ij,ij->i", dict(i=3001, j=2003)),
    ("chain of three", "ij,jk,kl->il", dict(i=1501, j=33, k=1499, l=41)),
    ("bilinear form", "i,ij,j->", dict(i=3001, j=3011)),
    ("two modes of a cube", "ijk,jl,km->ilm", dict(i=101, j=103, k=107, l=29, m=31)),
    ("Khatri-Rao", "ijk,jr,kr->ir", dict(i=97, j=101, k=103, r=33)),
    ("two summed indices", "acd,dkc->ak", dict(a=513, c=31, d=33, k=257)),
    ("convolution of one pixel", "nchw,oc->nohw", dict(n=5, c=67, h=57, w=59, o=129)),
]

# How often each computes in its turn, one time after the other. The first wakes its threads and caches, and is not timed.
CALLS = 4

# Threads of a BLAS go on waiting for work in a loop for a while; the other's turn must not fall into it.
SETTLE = 0.3


def shapes_of(equation, sizes):
    return [tuple(sizes[c] for c in operand) for operand in equation.split("->")[0].split(",")]


def program(equation, sizes):
    """A program that computes the equation CALLS times when it reads a line, and says how long each time took."""
    operands, result = equation.split("->")
    operands = operands.split(",")
    access = lambda name, indices: f"{name}[{', '.join(indices)}]" if indices else name
    names = [f"x{n}" for n in range(len(operands))]
    lines = [
        f"fn equation({', '.join(names)}) {{",
        f"    {access('y', result)} = {' '.join(access(n, o) for n, o in zip(names, operands))}",
        f"    if {access('y', '0' * len(result))} > 1e30 {{ panic(\"never\") }}  // asks for its value",
        "    return y",
        "}",
        "main {",
    ]
    for name, shape in zip(names, shapes_of(equation, sizes)):
        n = math.prod(shape)
        lines.append(f"    let {name} = reshape((arange({n}) * 7919 % 1000) as float32 / 1000 - 0.5, {list(shape)})")
        lines.append(f"    if any({name} > 2) {{ panic(\"never\") }}  // computed from here on")
    lines += [
        '    while input("") == "time" {',
        "        let time0 = time()",
    ]
    for call in range(CALLS):
        lines += [
            f"        equation({', '.join(names)})",
            f"        let time{call + 1} = time()",
        ]
    # Only now: whoever reads a line takes a core from the threads.
    lines += [f'        print("{{}}", time{call + 1} - time{call})' for call in range(CALLS)]
    lines += [
        "    }",
        f"    print(sum(equation({', '.join(names)})))",
        "}",
    ]
    return "\n".join(lines) + "\n"


def operands_of(equation, sizes):
    import numpy as np

    return [
        (np.arange(math.prod(shape)) * 7919 % 1000).astype(np.float32).reshape(shape) / np.float32(1000) - np.float32(0.5)
        for shape in shapes_of(equation, sizes)
    ]


class Ours:
    """tl with the program of one equation, taking turns."""

    def __init__(self, tl, equation, sizes, folder, threads):
        path = pathlib.Path(folder, "equation.tl")
        path.write_text(program(equation, sizes))
        command = [tl, "run"] + (["--threads", str(threads)] if threads else []) + [str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def cpu_seconds(self):
        """What all its threads have run so far; exact while it waits for a line."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) * 1e-9

    def times(self, cpu):
        """Seconds of each timed call of a turn; of the processor only their mean is known."""
        start = self.cpu_seconds()
        self.say("time")
        seconds = [self.answer() for _ in range(CALLS)]
        return [(self.cpu_seconds() - start) / CALLS] if cpu else seconds[1:]

    def total(self):
        """The sum of the result, with which the program ends."""
        self.say("end")
        total = self.answer()
        self.process.wait()
        return total

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def answer(self):
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"tl ended with {self.process.wait()}")
        return float(answer)


def measure(equation, sizes, args, folder):
    import numpy as np

    operands = operands_of(equation, sizes)
    ours = Ours(args.tl, equation, sizes, folder, args.threads)
    clock = time.process_time if args.cpu else time.perf_counter
    theirs_s, ours_s = [], []
    for _ in range(args.rounds):
        time.sleep(SETTLE)
        for call in range(CALLS):
            start = clock()
            result = np.einsum(equation, *operands, optimize=True)
            if call > 0:
                theirs_s.append(clock() - start)
        time.sleep(SETTLE)
        ours_s += ours.times(args.cpu)
    total = ours.total()
    expected = float(result.sum(dtype=np.float64))
    scale = float(np.abs(result).sum(dtype=np.float64)) or 1.0
    if abs(total - expected) > 1e-4 * scale:
        sys.exit(f"{equation}: the sum of the result is {total}, and NumPy's is {expected}")
    return statistics.median(ours_s), statistics.median(theirs_s)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tl", default="build/bin/tl", help="the program to measure (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="how many turns each takes (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads for both (default: what each chooses)")
    parser.add_argument("--cpu", action="store_true", help="count processor time")
    parser.add_argument("--only", default="", help="equations whose name or text holds this")
    args = parser.parse_args()
    if args.threads:
        os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)
    print(f"{'':30} {'equation':20} {'tl ms':>9} {'numpy ms':>9} {'faster':>7}")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for name, equation, sizes in EQUATIONS:
            if args.only not in name and args.only not in equation:
                continue
            ours, theirs = measure(equation, sizes, args, folder)
            ratios.append(theirs / ours)
            print(f"{name:30} {equation:20} {ours * 1e3:9.3f} {theirs * 1e3:9.3f} {ratios[-1]:6.2f}x", flush=True)
    if ratios:
        print(f"at least {min(ratios):.2f}x, in the middle {statistics.median(ratios):.2f}x")


if __name__ == "__main__":
    main()

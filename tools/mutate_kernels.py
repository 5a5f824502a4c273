#!/usr/bin/env python3
"""Plants mistakes in kernels and checks that the conformance suite notices each.

    tools/mutate_kernels.py [--build DIR] [--only TEXT] [--list]

Works on a copy of the sources with a build directory of its own; a second run compiles only what changed. Every mutation
is one substitution in one file (white space does not count) whose old text must stand there exactly once. The suite runs
on the mutated backend and must fail; a mutation that it passes, or whose text is gone, makes this script exit with 1.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple


class Mutation(NamedTuple):
    name: str
    file: str  # below src/backend, whose first part names the backend
    old: str
    new: str


MUTATIONS = [
    # Attention and positions
    Mutation("causal mask off by one", "cpu/attention.cpp", "(i + pos + 1, 0, k.n)", "(i + pos, 0, k.n)"),
    Mutation("wrong KV head", "cpu/attention.cpp", "k.load_tile(first, count, kv_head,", "k.load_tile(first, count, 0,"),
    Mutation("running sum not rescaled", "cpu/isa/attention.cpp", "fma(load_some(t.sum + row, n), load(decay), sums_of(of_rows))",
             "load_some(t.sum + row, n) + sums_of(of_rows)"),
    Mutation("rows that share keys take the first one's softmax", "cpu/isa/attention.cpp",
             "+ at + i * kLanes) * F32(decay[r]);", "+ at + i * kLanes) * F32(decay[0]);"),
    Mutation("rotation with the wrong sign", "cpu/rope.cpp", "= a * c - b * s;", "= a * c + b * s;"),
    Mutation("appended at row 0", "cpu/shape.cpp", "part(args.out, 0, args.params.ints[0],", "part(args.out, 0, 0,"),
    # Quantised weights
    Mutation("nibbles in the wrong order", "cpu/isa/linear_q8.cpp",
             "bits_from(b.v[0], g / 4 * 4, 15)", "bits_from(b.v[0], 4 - g / 4 * 4, 15)"),
    Mutation("bits of Q6_K's fourth blocks in the wrong order", "cpu/isa/linear_q8.cpp",
             "bits_from(b.v[1], 4, 12) | bits_from(b.v[2], 6, 3)", "bits_from(b.v[2], 4, 12) | bits_from(b.v[1], 6, 3)"),
    Mutation("floats of another panel block", "cpu/isa/linear_q8.cpp", "group->floats[b], panel, x", "group->floats[b / 2 * 2], panel, x"),
    Mutation("a panel's last group too short", "cpu/panels.cpp", "(blocks + kPanelGroup - 1) / kPanelGroup", "blocks / kPanelGroup"),
    Mutation("another block's scale", "cpu/isa/linear_q8.cpp", "scales_from(p.scales[s / 4], s % 4)", "scales_from(p.scales[s / 4], s % 2)"),
    Mutation("a row's quants under another's scale", "cpu/panels.cpp", "f.d[r] = b.d; f.m[r] = b.m; interleave(b.qs, r, p.qs);",
             "f.d[r] = b.d; f.m[r] = b.m; interleave(b.qs, (r + 1) % kPanelRows, p.qs);"),
    Mutation("minima of Q4_K and Q5_K are scales", "cpu/panels.cpp", "scale_at(p.mins, s, r) = both.min;",
             "scale_at(p.mins, s, r) = both.scale;"),
    Mutation("half sums of a block swapped", "cpu/isa/linear_q8.cpp", "less[half][l % 4 / 2] -= pairs[l];", "less[1 - half][l % 4 / 2] -= pairs[l];"),
    Mutation("wrong centre", "cpu/isa/linear_q8.cpp", "start_from<F::kLog2Centre>(", "start_from<F::kLog2Centre - 1>("),
    Mutation("activations rounded to 7 bits", "cpu/isa/linear_q8.cpp", "representable ? 127.0f / top : 0.0f",
             "representable ? 63.0f / top : 0.0f"),
    # Tails and tiles
    Mutation("tail of a float row dropped", "cpu/isa/linear_float.cpp", "if (j < a.k) {", "if (j < 0) {"),
    Mutation("tail of an elementwise run dropped", "cpu/isa/elementwise.cpp",
             "if (i < n) store_tail(out + i, Functor<op>::apply(load_tail(x + i,",
             "if (i < 0) store_tail(out + i, Functor<op>::apply(load_tail(x + i,"),
    Mutation("earlier terms of a matrix product lost", "cpu/isa/gemm.cpp",
             "if (adds) sums[w] = load_as<V>(to + kWidth * w) + sums[w];", ""),
    Mutation("columns of a narrow panel lost", "cpu/isa/gemm.cpp", "one.columns <= kGemmColumns / 2)",
             "one.columns <= kGemmColumns / 2 + 1)"),
    Mutation("stretches of terms taken for longer", "cpu/matrix_packing.cpp", "s.inner[end] == s.inner[end - 1] + 1",
             "s.inner[end] >= s.inner[end - 1] + 1"),
    # Norms, equations
    Mutation("eps dropped", "cpu/normalise.cpp", "static_cast<float>(1 / std::sqrt(mean + eps))",
             "static_cast<float>(1 / std::sqrt(mean))"),
    Mutation("indices truncated, not floored", "cpu/contract.cpp", "return a / b - (a % b < 0);", "return a / b;"),
    Mutation("last of several maxima", "cpu/order.cpp", "[](auto a, auto b) { return a > b; }",
             "[](auto a, auto b) { return a >= b; }"),
    Mutation("a logit drawn, not its place", "cpu/order.cpp", "places.push_back(from[at[1] + i * step + to_places]);",
             "places.push_back(from[at[1] + i * step]);"),
    # The oracle itself
    Mutation("reference: causal mask off by one", "reference/attention.cpp", "j > i + args.params.ints[0]",
             "j >= i + args.params.ints[0]"),
    Mutation("reference: wrong KV head", "reference/attention.cpp", "kv_head = head / attrs.group",
             "kv_head = head % k.shape()[1]"),
    Mutation("reference: rotation with the wrong sign", "reference/attention.cpp", "a = a0 * c - b * s;", "a = a0 * c + b * s;"),
    Mutation("reference: tail of a row dropped", "reference/matmul.cpp", "for (int64_t j = i; j < n; ++j)",
             "for (int64_t j = i; j < n - 1; ++j)"),
    Mutation("reference: eps dropped", "reference/normalise.cpp",
             "const double root = std::sqrt(squares / static_cast<double>(n) + eps); "
             "for (size_t i = 0; i < line.size(); ++i) line[i] = line[i] / root * w[i];",
             "const double root = std::sqrt(squares / static_cast<double>(n)); "
             "for (size_t i = 0; i < line.size(); ++i) line[i] = line[i] / root * w[i];"),
    Mutation("reference: mask ignored in the maximum's sum", "reference/normalise.cpp", "keep[i] ? kept[next++] / total : 0",
             "keep[i] ? kept[next++] / total : 1e-12"),
    Mutation("reference: reads outside give the edge", "reference/contract.cpp", "last = 0;", "last = last;"),
    Mutation("reference: unstable sort", "reference/order.cpp", "descending ? a > b : a < b;", "descending ? a >= b : a < b;"),
    Mutation("reference: sum of float32", "reference/reduce.cpp", "[](T total, T x) { return Functor<op>::apply(total, x); }",
             "[](T total, T x) { return static_cast<T>(static_cast<float>(Functor<op>::apply(total, x))); }"),
]


def pattern(text):
    """A regular expression for `text` with any white space between its words."""
    return re.compile(r"\s+".join(re.escape(word) for word in text.split()))


def copy_sources(root, tree):
    """Copies what the suite is built from; unchanged files keep their time stamps."""
    for part in ["CMakeLists.txt", "cmake", "src", "bench", "tests"]:
        source = os.path.join(root, part)
        files = [source] if os.path.isfile(source) else [
            os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
        for file in files:
            to = os.path.join(tree, os.path.relpath(file, root))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if not os.path.exists(to) or open(file, "rb").read() != open(to, "rb").read():
                shutil.copyfile(file, to)


def build(build_dir):
    return subprocess.run(["ninja", "-C", build_dir, "conformance_test"], capture_output=True, text=True)


def run_suite(build_dir, backend):
    command = [os.path.join(build_dir, "bin", "conformance_test"), "--backend", backend, "--gtest_brief=1", "--gtest_fail_fast"]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def places(mutation, root):
    """How often the text to be replaced stands in its file: once, if all is well."""
    return len(pattern(mutation.old).findall(open(os.path.join(root, "src", "backend", mutation.file)).read()))


def try_mutation(mutation, tree, build_dir):
    """'red' and the first failing test, or why it is not."""
    path = os.path.join(tree, "src", "backend", mutation.file)
    original = open(path).read()
    if places(mutation, tree) != 1:
        return f"the text stands {places(mutation, tree)} times in {mutation.file}", ""
    try:
        with open(path, "w") as file:
            file.write(pattern(mutation.old).sub(lambda _: mutation.new, original))
        built = build(build_dir)
        if built.returncode != 0:
            return "does not compile", built.stdout[-2000:]
        suite = run_suite(build_dir, mutation.file.split("/")[0])
    finally:
        with open(path, "w") as file:
            file.write(original)
    failed = re.findall(r"\[  FAILED  \] (\S+)", suite.stdout)
    if suite.returncode == 0:
        return "not noticed", ""
    return "red", failed[0] if failed else "crash"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build/mutants", help="where the copy and its build go")
    parser.add_argument("--only", default="", help="mutations whose name or file contains this")
    parser.add_argument("--list", action="store_true", help="name the mutations, check that their texts are there, and stop")
    arguments = parser.parse_args()
    chosen = [m for m in MUTATIONS if arguments.only in m.name or arguments.only in m.file]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if arguments.list:
        stale = [m for m in chosen if places(m, root) != 1]
        for mutation in chosen:
            print(f"{mutation.file}: {mutation.name}" + ("  (its text is gone)" if mutation in stale else ""))
        return 1 if stale else 0

    tree, build_dir = os.path.join(arguments.build, "tree"), os.path.join(arguments.build, "build")
    copy_sources(root, tree)
    launcher = ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    subprocess.run(["cmake", "-S", tree, "-B", build_dir, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *launcher],
                   check=True, stdout=subprocess.DEVNULL)
    built = build(build_dir)
    if built.returncode != 0:
        sys.exit(built.stdout[-3000:] + "the sources do not build")
    for backend in sorted({m.file.split("/")[0] for m in chosen}):
        if run_suite(build_dir, backend).returncode != 0:
            sys.exit(f"the suite fails on {backend} without any mutation")

    survivors = 0
    for mutation in chosen:
        verdict, detail = try_mutation(mutation, tree, build_dir)
        survivors += verdict != "red"
        print(f"{verdict:12} {mutation.file:24} {mutation.name}  {detail}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

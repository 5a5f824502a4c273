#!/usr/bin/env python3
"""Plants every fault of docs/diagnosis.md in the first, the middle and the last layer of a model, lets `tl diagnose` find it,
and prints a table: what was planted, what was found.

Usage: tools/plant_faults.py TL MODEL RESULTS.jsonl [--prompt TEXT | --tokens IDS] [--faults NAME@LAYER,…] [--device DEVICE] > table.md
       tools/plant_faults.py TL MODEL RESULTS.jsonl --healthy > table.md

With --healthy nothing is planted: the model is diagnosed with prompts of several lengths, and small models of random weights of
every type that can be written with some of them.

One process diagnoses all that are still to be done, so that the reference is computed once. Each case is written to
RESULTS.jsonl when it is done, and not run again: interrupt and start again at will. Exit status 1
when a fault was missed, misplaced or misnamed, or a healthy run was accused.
"""

import argparse
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

PROMPT = ("The history of numerical computing is a history of errors that were found too late: in the rounding of a sum, "
          "in the order of two loops")
LENGTHS = [1, 2, 7, 63, 64, 65, 130, 300]
TYPES = ["q4_0", "q4_1", "q8_0", "q4_k", "q6_k", "f16", "bf16", "f32"]  # those that can be written


def faults():
    """(name, whether it is planted in a layer), as the documentation lists them."""
    text = (pathlib.Path(__file__).parent.parent / "docs/diagnosis.md").read_text(encoding="utf-8")
    return [(m[1], bool(m[2])) for m in re.finditer(r"^\| `([a-z][a-z0-9-]*)(@LAYER)?` \|", text, re.M)]


def healthy_runs(options):
    """(what it is, model, ids)"""
    def ids(n, vocabulary):
        return ",".join(str((i * 7919 + 13) % (vocabulary - 1) + 1) for i in range(n))
    for length in LENGTHS:
        yield f"{pathlib.Path(options.model).name}, {length} tokens", options.model, ids(length, 40000)
    with tempfile.TemporaryDirectory() as folder:
        for i, dtype in enumerate(TYPES):
            path = f"{folder}/{dtype}.gguf"
            subprocess.run([options.tl, "synth", path, "--type", dtype, "--layers", "3", "--hidden", "512", "--ffn", "1024",
                            "--heads", "8", "--kv-heads", "2", "--vocab", "2000"], check=True, capture_output=True)
            for length in (LENGTHS[i], LENGTHS[(i + 4) % len(LENGTHS)]):
                yield f"random {dtype}, {length} tokens", path, ids(length, 2000)


def show_healthy(options, known):
    bad = 0
    print("| run | verdict | values judged | KL of the logits | seconds |")
    print("|---|---|---|---|---|")
    for what, model, ids in healthy_runs(options):
        if what not in known:
            result, = diagnose(options, [None], model, ids)
            known[what] = dict(result, planted=what)
            keep(options, known[what])
        r = known[what]
        bad += not r["healthy"]
        print(f"| {what} | {'healthy' if r['healthy'] else 'false alarm: ' + r['verdict']} | {r['judged']} "
              f"| {number(r['divergence'])} | {r['seconds']} |", flush=True)
    sys.exit(1 if bad else 0)


def keep(options, result):
    with options.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")


def layer_count(tl, model):
    text = subprocess.run([tl, "inspect", model], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"block_count\s+(\d+)", text)[1])


def cases(layers, wanted):
    yield None
    if wanted:
        yield from wanted.split(",")
        return
    for name, in_layers in faults():
        if not in_layers:
            yield name
            continue
        for layer in sorted({0, layers // 2, layers - 1}):
            if name == "cache-shared" and layer == layers - 1:
                continue  # there is no layer after the last
            yield f"{name}@{layer}"


def diagnose(options, plants, model=None, ids=None):
    """The result of each plant (None: nothing is planted), as they come."""
    ids = ids or options.tokens
    command = [options.tl, "diagnose", model or options.model, "--json", "--device", options.device, "--plant-each", "-"]
    command += ["--tokens", ids] if ids else ["-p", options.prompt]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines, tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        lines.write("".join(f"{plant or ''}\n" for plant in plants))
        lines.seek(0)
        start = time.monotonic()
        with subprocess.Popen(command, stdin=lines, stdout=subprocess.PIPE, stderr=said, text=True) as process:
            for plant, line in zip(plants, process.stdout):
                now = time.monotonic()
                yield dict(of_report(json.loads(line)), planted=plant, seconds=round(now - start, 1))
                start = now
        if process.returncode not in (0, 3):
            said.seek(0)
            sys.exit(f"{' '.join(command)}\n{said.read()}")


def of_report(report):
    fault = report["fault"] or {}
    return {"placed": not any("has no place" in note for note in report.get("notes", [])), "healthy": report["healthy"],
            "verdict": report["verdict"], "judged": report["judged"],
            "named": fault.get("name"), "layer": fault.get("layer"), "operation": fault.get("operation"),
            "error": fault.get("error"), "residual": (fault.get("hypotheses") or [{}])[0].get("residual"),
            "divergence": report["logits"]["divergence"]}


def judged(result, rounding):
    """"right", or what is wrong with it; `rounding` is the divergence of the logits where nothing is planted."""
    planted = result["planted"]
    if not result["placed"]:
        return "no place in this model"
    if planted is None:
        return "right" if result["healthy"] else "false alarm"
    if result["healthy"]:
        return "changes nothing" if result["divergence"] <= 2 * rounding else "not seen"
    name, _, layer = planted.partition("@")
    if layer and result["layer"] != int(layer):
        return "wrong layer"
    return "right" if result["named"] == name else f"wrong name: {result['named']}"


def number(x):
    return "–" if x is None else f"{x:.2g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tl")
    parser.add_argument("model")
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--tokens", help="ids instead of a prompt: 1,17,300")
    parser.add_argument("--faults", help="plant these only: rope-pairing@0,final-norm-missing")
    parser.add_argument("--device", default="cpu", help="what the run that is diagnosed is computed on")
    parser.add_argument("--healthy", action="store_true", help="plant nothing: several lengths and all types of weights")
    options = parser.parse_args()

    known = {}
    if options.results.exists():
        for line in options.results.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            known[result["planted"]] = result
    if options.healthy:
        show_healthy(options, known)
    verdicts = collections.Counter()
    print("| planted | verdict | operation | layer | distance | residual | KL of the logits |")
    print("|---|---|---|---|---|---|---|")
    plants = list(cases(layer_count(options.tl, options.model), options.faults))
    to_do = diagnose(options, [plant for plant in plants if plant not in known])
    for plant in plants:
        if plant not in known:
            known[plant] = next(to_do)
            keep(options, known[plant])
        r = known[plant]
        verdict = judged(r, known[None]["divergence"])
        if plant:
            verdicts[verdict] += 1
        layer = "–" if r["layer"] is None else r["layer"]
        print(f"| {plant or 'nothing'} | {verdict} | {r['operation'] or '–'} | {layer} "
              f"| {number(r['error'])} | {number(r['residual'])} | {number(r['divergence'])} |", flush=True)
    print(f"\n{', '.join(f'{n} {verdict}' for verdict, n in verdicts.most_common())}.")
    sys.exit(1 if set(verdicts) - {"right", "changes nothing", "no place in this model"} or not known[None]["healthy"] else 0)


if __name__ == "__main__":
    main()

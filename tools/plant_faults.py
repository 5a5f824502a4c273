#!/usr/bin/env python3
"""Plants every fault of docs/diagnosis.md in the first, the middle and the last layer of a model, lets `tl diagnose` find it,
and prints a table: what was planted, what was found.

Usage: tools/plant_faults.py TL MODEL RESULTS.jsonl [--prompt TEXT | --tokens IDS] > table.md

Each case is written to RESULTS.jsonl when it is done, and not run again: interrupt and start again at will. Exit status 1
when a fault was missed, misplaced or misnamed, or a healthy run was accused.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

PROMPT = ("The history of numerical computing is a history of errors that were found too late: in the rounding of a sum, "
          "in the order of two loops")


def faults():
    """(name, whether it is planted in a layer), as the documentation lists them."""
    text = (pathlib.Path(__file__).parent.parent / "docs/diagnosis.md").read_text(encoding="utf-8")
    return [(m[1], bool(m[2])) for m in re.finditer(r"^\| `([a-z0-9-]+)(@LAYER)?` \|", text, re.M)]


def layer_count(tl, model):
    text = subprocess.run([tl, "inspect", model], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"block_count\s+(\d+)", text)[1])


def cases(layers):
    yield None
    for name, in_layers in faults():
        if not in_layers:
            yield name
            continue
        for layer in sorted({0, layers // 2, layers - 1}):
            if name == "cache-shared" and layer == layers - 1:
                continue  # there is no layer after the last
            yield f"{name}@{layer}"


def run(options, plant):
    command = [options.tl, "diagnose", options.model, "--json"]
    command += ["--tokens", options.tokens] if options.tokens else ["-p", options.prompt]
    if plant:
        command += ["--plant", plant]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    report = json.loads(done.stdout)
    fault = report["fault"] or {}
    return {"planted": plant, "placed": "has no place" not in done.stderr, "healthy": report["healthy"],
            "named": fault.get("name"), "layer": fault.get("layer"), "operation": fault.get("operation"),
            "error": fault.get("error"), "residual": (fault.get("hypotheses") or [{}])[0].get("residual"),
            "divergence": report["logits"]["divergence"], "seconds": round(time.monotonic() - start, 1)}


def judged(result):
    """"right", or what is wrong with it."""
    planted = result["planted"]
    if not result["placed"]:
        return "no place in this model"
    if planted is None:
        return "right" if result["healthy"] else "false alarm"
    if result["healthy"]:
        return "not seen"
    name, _, layer = planted.partition("@")
    if layer and result["layer"] != int(layer):
        return "wrong layer"
    return "right" if result["named"] == name else "wrong name"


def number(x):
    return "–" if x is None else f"{x:.2g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tl")
    parser.add_argument("model")
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--tokens", help="ids instead of a prompt: 1,17,300")
    options = parser.parse_args()

    known = {}
    if options.results.exists():
        for line in options.results.read_text(encoding="utf-8").splitlines():
            result = json.loads(line)
            known[result["planted"]] = result
    bad = 0
    print("| planted | verdict | found | operation | layer | distance | residual | KL of the logits |")
    print("|---|---|---|---|---|---|---|---|")
    for plant in cases(layer_count(options.tl, options.model)):
        if plant not in known:
            known[plant] = run(options, plant)
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[plant]) + "\n")
        r = known[plant]
        verdict = judged(r)
        bad += verdict not in ("right", "no place in this model")
        layer = "–" if r["layer"] is None else r["layer"]
        print(f"| {plant or 'nothing'} | {verdict} | {r['named'] or '–'} | {r['operation'] or '–'} | {layer} "
              f"| {number(r['error'])} | {number(r['residual'])} | {number(r['divergence'])} |", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

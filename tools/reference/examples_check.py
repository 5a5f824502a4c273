#!/usr/bin/env python3
"""Holds what the programs in examples/ print against what NumPy computes.

    python3 tools/reference/examples_check.py [FOLDER/NAME…]

For examples/FOLDER/NAME.tl there is a function NAME in tools/reference/examples/FOLDER.py, written without a look at the
runtime, that yields the values of the output in order: numbers, arrays, booleans, texts. Words and numbers are compared one by
one, numbers to the four decimals that print shows.
"""

import importlib
import math
import pathlib
import re
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
FOLDERS = ("basics", "equations", "numerics", "algorithms", "learning", "transformers", "old_style")
TOKEN = re.compile(r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\binf\b|\bnan\b)|\w+|[#@%*=+:.\-]+", re.ASCII)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "examples"))


def tokens(value):
    """The words and numbers of a value, in the order in which print shows them."""
    if isinstance(value, str):
        return [number(t) for t in TOKEN.findall(value)]
    if isinstance(value, (bool, np.bool_)):
        return ["true" if value else "false"]
    if isinstance(value, (int, float, np.number)):
        return [float(value)]
    if isinstance(value, dict):
        return [t for key, item in value.items() for t in [key + ":"] * 0 + tokens(f"{key}: ") + tokens(item)]
    return [t for item in (value.tolist() if isinstance(value, np.ndarray) else value) for t in tokens(item)]


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def differ(found, wanted):
    if isinstance(found, float) and isinstance(wanted, float):
        if math.isnan(found) or math.isnan(wanted) or math.isinf(found) or math.isinf(wanted):
            return not (found == wanted or (math.isnan(found) and math.isnan(wanted)))
        return abs(found - wanted) > 6e-5 + 2e-6 * abs(wanted)
    return found != wanted


def check(name, function):
    found = tokens((EXAMPLES / f"{name}.expected").read_text())
    wanted = [t for value in function() for t in tokens(value)]
    for i, (a, b) in enumerate(zip(found, wanted)):
        if differ(a, b):
            return f"value {i} is {a!r}, NumPy says {b!r} (…{found[max(0, i - 3):i + 4]} and …{wanted[max(0, i - 3):i + 4]})"
    if len(found) != len(wanted):
        return f"{len(found)} values, NumPy gives {len(wanted)}: …{found[len(wanted) - 3:][:8]} and …{wanted[len(found) - 3:][:8]}"
    return None


def main():
    wanted = sys.argv[1:]
    failures, checked = 0, 0
    for folder in FOLDERS:
        module = importlib.import_module(folder)
        for path in sorted((EXAMPLES / folder).glob("*.tl")):
            name = f"{folder}/{path.stem}"
            if wanted and name not in wanted:
                continue
            function = getattr(module, path.stem, None)
            problem = check(name, function) if function else "nothing to compare it with"
            checked += 1
            if problem:
                failures += 1
                print(f"{name}: {problem}")
    print(f"{checked} examples, {failures} differ")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times generation with guessed tokens beside generation without, in turns, and checks that the tokens are the same.

    python3 bench/drafts.py MODEL [--draft lookup] [--tl build/bin/tl] [--rounds 5] [--threads N] [-- MORE OPTIONS]

Three texts: one that repeats what it was given (a summary), one that repeats itself (code), one that does neither (a
story); each greedily and with a temperature. The table shows medians, how many times faster guessing is, and how many of
the guessed tokens were right.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"

SUMMARY = CHAT.format("""Summarize the following text, keeping its sentences where you can:

The lighthouse at Cape Morrow was built in 1871 after three ships were lost on the reef in a single winter. Its lamp was \
first fed with whale oil, later with paraffin, and since 1934 with electricity. Four keepers lived on the rock with their \
families, and grew potatoes in soil that was carried up in baskets from the beach. In 1962 the light was automated and the \
last keeper left. The house stood empty for twenty years, until a group of volunteers from the village repaired the roof, \
opened a small museum in the former kitchen, and began to offer rooms for the night. Today about nine thousand visitors a \
year climb the one hundred and forty steps to the lantern, from which one can see the islands to the north on a clear day.""")

CODE = """Here is some Python code:

```python
def average(values):
    total = 0
    count = 0
    for value in values:
        total = total + value
        count = count + 1
    if count == 0:
        return 0
    return total / count

def variance(values):
    mean = average(values)
    total = 0
    count = 0
    for value in values:
        total = total + (value - mean) * (value - mean)
        count = count + 1
    if count == 0:
        return 0
    return total / count
```

The same code with comments:

```python
# The mean of a list of values.
def average(values):
"""

STORY = CHAT.format("Write a short story about a fox that learns to paint.")


def generate(options, prompt, temperature, more):
    command = [options.tl, "generate", options.model, "-p", prompt, "-n", str(options.tokens), "--seed", "7", "--temp",
               str(temperature), "--json", *more]
    if options.threads:
        command += ["-t", str(options.threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--draft", default="lookup")
    parser.add_argument("--tl", default=str(pathlib.Path(__file__).parents[1] / "build/bin/tl"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--threads", type=int)
    parser.add_argument("more", nargs="*", help="options for both")
    options = parser.parse_args()
    print(f"{'text':<8} {'temp':>4} {'tokens/s':>9} {'guessed':>9} {'ratio':>6} {'from':>6} {'to':>5} {'right':>16}")
    for name, prompt in (("summary", SUMMARY), ("code", CODE), ("story", STORY)):
        for temperature in (0, 0.7):
            alone, guessed = [], []
            for _ in range(options.rounds):
                without = generate(options, prompt, temperature, options.more)
                drafts = generate(options, prompt, temperature, [*options.more, "--draft", options.draft])
                if without["tokens"] != drafts["tokens"]:
                    raise SystemExit(f"{name}: the tokens differ")
                alone.append(len(without["tokens"]) / without["generate_seconds"])
                guessed.append(len(drafts["tokens"]) / drafts["generate_seconds"])
            ratios = sorted(g / a for g, a in zip(guessed, alone))
            d = drafts["draft"]
            print(f"{name:<8} {temperature:>4} {statistics.median(alone):9.1f} {statistics.median(guessed):9.1f} "
                  f"{statistics.median(ratios):6.2f} {ratios[0]:6.2f} {ratios[-1]:5.2f} "
                  f"{d['accepted']:>6} of {d['drafted']:>4}", flush=True)


if __name__ == "__main__":
    main()

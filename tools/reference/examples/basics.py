"""examples/basics in Python and NumPy."""

import math
from fractions import Fraction

import numpy as np

from common import arr


def hello():
    yield "Hello, tensors!"


def numbers():
    yield [3, -3, 1, -1]
    yield [3.5, 3.5, 1 / 3]
    yield [2**10, 2**62, math.sqrt(2), -4]
    yield [255, 10**6, 1e-7, 5]
    yield [0.1 + 0.2, 0.1 + 0.2 == 0.3, math.isclose(0.1 + 0.2, 0.3)]
    yield [int(2.9), int(-2.9), 1.5, 2]
    yield [math.floor(-2.5), math.ceil(-2.5), round(2.5), round(3.5)]
    yield [8, 3, 4, True]


def strings():
    w = "tensor"
    yield [w + "s", "-" * 20, len(w)]
    yield [w[0], w[-1], w[0:3], w[3:]]
    yield ["sor" in w, "sir" in w, "abc" < "abd"]
    yield f"{w} has {len(w)} letters"
    yield f"naïve has {len('naïve')} letters; \U0001F999 is one too: {len(chr(0x1F999))}"
    yield w[::-1]
    yield [43, 5, "0.5!"]


def lists():
    s = [i * i for i in range(6)]
    yield [s, len(s), sum(s)]
    yield [s[1], s[-1], s[2:4], s[:2] + s[4:]]
    yield [0, 100]
    yield [[1, 2, 3], [4, 5, 60], [4, 5, 60], True]
    yield '[1, "two", [3.5, true]] list two 1'
    for x in s + [36]:
        if x % 2 == 0:
            yield f"even square {x}"


def records():
    yield "Ada is 36"
    yield "Ada is 37 in London"
    yield '{name: "Ada", age: 37, city: "London"} ["name", "age", "city"]'
    yield [True, False, "Ada"]
    yield {"a": 3, "b": 1, "c": 1}


def functions():
    yield [9, 12, 10]
    yield [0, 0.25, 5]
    yield [7, 7]
    yield "<function area> 81 81"


def recursion():
    yield [math.factorial(5), math.factorial(20)]
    yield [math.gcd(1071, 462), math.gcd(17, 5)]
    yield "the largest disk goes from A to C in move 4"
    yield "7 moves"


def loops():
    yield [n for n in range(2, 50) if all(n % d for d in range(2, n))]
    x, seen = 27, [27]
    while x != 1:
        x = 3 * x + 1 if x % 2 else x // 2
        seen.append(x)
    yield f"27 takes {len(seen) - 1} steps and climbs to {max(seen)}"


def slices():
    x = np.arange(12).reshape(3, 4)
    yield [x, x[1], x[-1], x[2, 3], x[:, 1], x[0:2, 1:3], x[::2, ::-1], x[[2, 0]], x[..., -1]]
    x[0, 0] = 100
    yield [x[0], x.sum()]


def broadcasting():
    x = np.arange(6.0).reshape(2, 3)
    yield [arr([0], [10], [20]) + [1, 2, 3], arr([1, 2], [3, 4]) * 10, x - x.mean(1, keepdims=True)]
    yield [(np.ones((4, 1, 3)) * np.ones((5, 1))).shape, x > 2.5, np.outer([1, 2, 3], [1, 10])]


def reductions():
    x = arr([3, 1, 2], [6, 5, 4])
    yield [x.sum(), x.mean(), x.max(), x.min(), x.prod()]
    yield [x.sum(0), x.sum(1), x.mean(0), x.max(1, keepdims=True)]
    yield [np.var([1, 2, 3, 4]), np.std([1, 3]), np.linalg.norm([3, 4])]
    yield [x.argmax(), x.argmax(0), x.argmin(1), x.cumsum(1), np.sort(x, 1), np.argsort([30, 10, 20])]
    yield [True, False, [9, 7], [1, 2]]


def element_types():
    x = np.array([1.5, -2.5, 0], np.float32)
    yield "float32[3] int64[3] bool[2]"
    yield "float32[3] float16[3] int64[2]"
    yield [x.astype(np.int32), x.astype(bool), x.astype(np.float16).astype(np.float64)]
    yield [[0.1, 1000.5, 65504], "float16[3]", float(np.float16(0.1))]


def csv():
    t = np.loadtxt("examples/basics/data/planets.csv", delimiter=",", skiprows=1)
    names = ["Mercury", "Venus", "Earth", "Mars"]
    yield t
    for name, d in zip(names, t[:, 0]):
        yield f"{name} needs {d**1.5} years"
    density = t[:, 2] / (t[:, 1] / 6371) ** 3
    yield [density, f"densest: {names[density.argmax()]}"]


def text():
    words = "the cat and the dog and the bird"
    yield {w: words.split().count(w) for w in words.split()}
    yield ", ".join(words.split(" and ")) + " | " + "a_b_c".replace("_", " ") + " | " + "  x \n".strip()
    total = 0
    for line in "apple,0.5,4\npear,0.75,10".split("\n"):
        name, price, amount = line.split(",")
        total += float(price) * int(amount)
        yield f"{name:<8}{float(price):>6.2f} × {amount:>3} = {float(price) * int(amount):>6.2f}"
    yield f"{'total':<8}{total:>21.2f}"
    yield f"{123456:.3e} {42:05} {3:+.1f} {2 / 3:8.3f}|"


def matrices():
    a = arr([2, 1], [1, 3])
    yield [a @ a, arr([1, 2, 3]).T, a @ [1, 1], [1, 1] @ a, 11]
    x = np.linalg.solve(a, [5, 10])
    yield [x, a @ x, np.linalg.inv(a), x]

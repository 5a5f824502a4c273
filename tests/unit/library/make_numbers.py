#!/usr/bin/env python3
"""Computes what the built-in functions must give, with NumPy in float64, and writes numbers.txt.

A line: an expression of the language, its type, its elements. Run with any Python that has NumPy:
    python3 make_numbers.py > numbers.txt
"""
import math

import numpy as np

ROWS = []


def case(code, value):
    """`value`: a NumPy array (its dtype is the tensor's, float64 standing for float32), or a plain number."""
    ROWS.append((code, value))


def literal(a):
    return str(np.asarray(a).tolist()).replace("True", "true").replace("False", "false")


# Every number below is exact in float32, so that NumPy sees the same inputs.
A = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.5]])
B = np.array([[2.0, 1.0, -1.0], [0.5, 4.0, 2.0]])
V = np.array([0.5, -1.25, 2.0, 0.75])
X3 = np.arange(24.0).reshape(2, 3, 4) / 4 - 2
a, b, v, x3 = literal(A), literal(B), literal(V), literal(X3)


def create():
    case("zeros([2, 3])", np.zeros((2, 3)))
    case("zeros(2, float16)", np.zeros(2, np.float16))
    case("ones([2, 1], dtype: int32)", np.ones((2, 1), np.int32))
    case("ones([2.0, 3.0])", np.ones((2, 3)))
    case("full([2, 2], 7)", np.full((2, 2), 7))
    case("full([2], -1.5)", np.full(2, -1.5))
    case("full([2], true)", np.full(2, True))
    case("full([2], 3, float64)", np.full(2, 3.0, np.longdouble))
    case("full([], 2.5)", np.array(2.5))
    case("arange(5)", np.arange(5))
    case("arange(2, 9, 3)", np.arange(2, 9, 3))
    case("arange(9, 2, -3)", np.arange(9, 2, -3))
    case("arange(3, 3)", np.arange(0))
    case("arange(0.0, 1.0, 0.25)", np.arange(0.0, 1.0, 0.25))
    case("arange(1, 2, 0.3)", np.array([1.0, 1.3, 1.6, 1.9]))
    case("arange(3, dtype: float32)", np.arange(3.0))
    case("arange(0.0, 2.0, 0.5, int64)", np.array([0, 0, 1, 1]))
    case("linspace(0, 1, 5)", np.linspace(0, 1, 5))
    case("linspace(2.5, -1, 4)", np.linspace(2.5, -1, 4))
    case("linspace(3, 4, 1)", np.linspace(3, 4, 1))
    case("linspace(3, 4, 0)", np.linspace(3, 4, 0))
    case("linspace(0, 1, n: 3, dtype: float64)", np.linspace(0, 1, 3).astype(np.longdouble))
    case("eye(3)", np.eye(3))
    case("eye(2, 3, int64)", np.eye(2, 3, dtype=np.int64))
    case("one_hot([2, 0], 3)", np.eye(3)[[2, 0]])
    case("one_hot(1, 3, bool)", np.array([False, True, False]))
    case("one_hot(reshape(arange(4), [2, 2]), n: 4, dtype: int64)", np.eye(4, dtype=np.int64).reshape(2, 2, 4))
    case("one_hot([], 3)", np.zeros((0, 3)))
    n, d = 5, 6
    pe = np.zeros((n, d))
    for p in range(n):
        for i in range(d // 2):
            pe[p, 2 * i], pe[p, 2 * i + 1] = math.sin(p / 10000 ** (2 * i / d)), math.cos(p / 10000 ** (2 * i / d))
    case("positional_encoding(5, 6)", pe)
    case("positional_encoding(3, 3, base: 100.0)",
         np.array([[math.sin(p), math.cos(p), math.sin(p / 100 ** (2 / 3))] for p in range(3)]))
    case("causal_mask(3)", np.tri(3, dtype=bool))
    case("causal_mask(2, 4, 2)", np.tri(2, 4, 2, dtype=bool))
    case("causal_mask(2, keys: 3, position: 1)", np.tri(2, 3, 1, dtype=bool))
    # Philox4x32-10 with key (seed, 0) and counter (block, 0, stream, 0); see the paper's reference values.
    case("rand([6], seed: 7)", np.array([u >> 8 for u in philox_words(7, 0, 6)]) * 2.0**-24)
    case("randn([5], seed: 7)", normal(7, 5))
    case("all(rand([1000], seed: 3) < 1 && rand([1000], seed: 3) >= 0)", np.array(True))


def philox_words(seed, stream, count):
    words = []
    for block in range((count + 3) // 4):
        c, k = [block, 0, stream, 0], [seed, 0]
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
            k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
        words += c
    return words[:count]


def normal(seed, count):
    w, out = philox_words(seed, 1, count + 4), []
    for i in range(count):
        pair = i // 2 * 2
        radius = math.sqrt(-2 * math.log((w[pair] + 1) * 2.0**-32))
        angle = 2 * math.pi * w[pair + 1] * 2.0**-32
        out.append(radius * (math.sin(angle) if i % 2 else math.cos(angle)))
    return np.array(out)


def shapes():
    case(f"shape({x3})", [2, 3, 4])
    case("shape(3)", [])
    case(f"rank({x3})", 3)
    case(f"reshape({a}, [3, 2])", A.reshape(3, 2))
    case(f"reshape({v}, [1.0, -1])", V.reshape(1, -1))
    case(f"let x = {x3}\nx.reshape([4, -1])", X3.reshape(4, -1))
    case(f"reshape({a}, 6)", A.reshape(6))
    case(f"flatten({x3})", X3.reshape(-1))
    case(f"flatten({x3}, 1)", X3.reshape(2, 12))
    case(f"flatten({x3}, 0, 1)", X3.reshape(6, 4))
    case("flatten(2.5)", np.array([2.5]))
    case(f"transpose({a})", A.T)
    case(f"transpose({x3})", X3.T)
    case(f"transpose({x3}, 0, -1)", X3.swapaxes(0, 2))
    case(f"permute({x3}, [2, 0, 1])", X3.transpose(2, 0, 1))
    case(f"permute({x3}, [-1, 0, 1])", X3.transpose(2, 0, 1))
    case("shape(squeeze(zeros([1, 3, 1, 2])))", [3, 2])
    case("shape(squeeze(zeros([1, 3, 1, 2]), dim: -2))", [1, 3, 2])
    case("shape(squeeze(zeros([1, 3, 1, 2]), [0, 2]))", [3, 2])
    case("shape(unsqueeze(zeros([2, 3]), 0))", [1, 2, 3])
    case("shape(unsqueeze(zeros([2, 3]), axis: 2))", [2, 3, 1])
    case(f"broadcast_to({v}, [2, 4])", np.broadcast_to(V, (2, 4)))
    case("broadcast_to(1.5, [2, 2])", np.full((2, 2), 1.5))
    case(f"concat([{a}, {b}])", np.concatenate([A, B]))
    case(f"concat([{a}, {b}], 1)", np.concatenate([A, B], 1))
    case(f"concat([{a}, {b}], dim: -1)", np.concatenate([A, B], 1))
    case(f"concat({a}, {b}, 1)", np.concatenate([A, B], 1))
    case(f"cat({a}, {b})", np.concatenate([A, B]))
    case("let parts = []\nfor i in 0..100 { parts = append(parts, [i]) }\nconcat(parts, 0)", np.arange(100.0))
    case(f"stack([{a}, {b}])", np.stack([A, B]))
    case(f"stack([{a}, {b}], axis: -1)", np.stack([A, B], -1))
    case(f"split({x3}, 2, 1)", [X3[:, :2], X3[:, 2:]])
    case(f"split({x3}, [1, 3], -1)", [X3[..., :1], X3[..., 1:]])
    case(f"chunk({v}, 3)", [V[:2], V[2:]])
    case(f"chunk({x3}, 2, dim: 2)", [X3[..., :2], X3[..., 2:]])


def indices():
    case(f"slice({x3}, 1, 1)", X3[:, 1:])
    case(f"slice({x3}, 2, 0, -1)", X3[..., 0:-1])
    case(f"slice({x3}, axis: 2, start: 3, stop: 0, step: -2)", X3[..., 3:0:-2])
    i1 = np.array([[2, 0], [1, 1]])
    case(f"gather({a}, 1, {literal(i1)})", np.take_along_axis(A, i1, 1))
    i0 = np.array([[1, 0, 1]])
    case(f"gather({a}, dim: 0, index: {literal(i0)})", np.take_along_axis(A, i0, 0))
    s = A.copy()
    np.put_along_axis(s, i1, np.array([[9.0, 8.0], [7.0, 7.0]]), 1)
    case(f"scatter({a}, 1, {literal(i1)}, [[9.0, 8.0], [7.0, 7.0]])", s)
    s = A.copy()
    np.put_along_axis(s, i0, -5.0, 0)
    case(f"scatter({a}, 0, {literal(i0)}, -5)", s)
    case(f"repeat({a}, 2)", np.repeat(A, 2))
    case(f"repeat({a}, 3, 1)", np.repeat(A, 3, 1))
    case(f"repeat({a}, 0, dim: 0)", np.zeros((0, 3)))
    case(f"repeat({a}, [2, 1])", np.tile(A, (2, 1)))
    case(f"repeat({v}, [2, 3])", np.tile(V, (2, 3)))
    case(f"flip({a})", np.flip(A))
    case(f"flip({x3}, [0, -1])", np.flip(X3, (0, 2)))
    case(f"flip({a}, 1)", np.flip(A, 1))
    case(f"pad({a}, 1)", np.pad(A, 1))
    case(f"pad({a}, [1, 2], 0.5)", np.pad(A, (1, 2), constant_values=0.5))
    case(f"pad({a}, [[0, 1], [2, 0]], value: -1)", np.pad(A, ((0, 1), (2, 0)), constant_values=-1))


def maths():
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    erf = np.vectorize(math.erf)
    functions = {
        "neg": np.negative, "abs": np.abs, "sign": np.sign, "exp": np.exp, "sin": np.sin, "cos": np.cos, "tan": np.tan,
        "tanh": np.tanh, "erf": erf, "floor": np.floor, "ceil": np.ceil, "round": np.rint,
        "relu": lambda x: np.maximum(x, 0), "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        "silu": lambda x: x * sigmoid(x), "sigmoid": sigmoid, "sig": sigmoid, "reciprocal": np.reciprocal,
    }
    for name, f in functions.items():
        case(f"{name}({v})", f(V))
        case(f"{name}(0.625)", float(f(0.625)))
    for name, f in {"log": np.log, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x)}.items():
        case(f"{name}([0.25, 3.0])", f(np.array([0.25, 3.0])))
        case(f"{name}(2)", float(f(2.0)))
    case("sqrt(64)", 8.0)
    case("abs(-3)", 3)
    case("floor(7)", 7)
    case("relu(-2)", 0)
    case("exp(arange(3))", np.exp(np.arange(3.0)))
    case("abs(arange(-2, 2))", np.array([2, 1, 0, 1]))
    case("pow(3, 4)", 81)
    case("pow(2, -1)", 0.5)
    case("pow(-2, 3)", -8)
    case("pow(-2, 63)", -2**63)
    case("pow(7, 0)", 1)
    case("pow(2.5, 2)", 6.25)
    case(f"pow({v}, 2)", V**2)
    case("pow(2, [1.0, 3.0])", np.array([2.0, 8.0]))
    case("pow([4.0, 9.0], [[0.5], [2.0]])", np.array([[2.0, 3.0], [16.0, 81.0]]))
    case("clamp(7, 0, 5)", 5)
    case("clamp(-0.5, 0, 5)", 0.0)
    case(f"clamp({v}, -1, 1)", V.clip(-1, 1))
    case(f"clamp({v}, max: 0.5)", np.minimum(V, 0.5))
    case(f"clamp({v}, min: 0)", np.maximum(V, 0))
    case(f"maximum({a}, {b})", np.maximum(A, B))
    case(f"minimum({a}, 0)", np.minimum(A, 0))
    case("maximum(2, 3)", 3)
    case(f"max({a}, {b})", np.maximum(A, B))
    case(f"min({a}, 0.5)", np.minimum(A, 0.5))
    case(f"max(1, {a})", np.maximum(A, 1))
    case("max(2, 2.5)", 2.5)
    case("min(-4, 3)", -4)
    case(f"select([[true, false, true], [false, true, false]], {a}, {b})",
         np.where([[1, 0, 1], [0, 1, 0]], A, B))
    case("select([1, 0], 2, [5.0, 6.0])", np.array([2.0, 6.0]))


def reductions():
    for name, f in {"sum": np.sum, "mean": np.mean, "prod": np.prod, "max": np.max, "min": np.min, "var": np.var,
                    "std": np.std}.items():
        case(f"{name}({a})", float(f(A)))
        case(f"let x = reshape({a}, [2, 3])\n{name}(x)", np.array(f(A)))
        case(f"{name}({x3}, 1)", f(X3, axis=1))
        case(f"{name}({x3}, dim: -1)", f(X3, axis=-1))
        case(f"{name}({x3}, axis: [0, 2], keepdim: true)", f(X3, axis=(0, 2), keepdims=True))
    case("sum([1, 2, 3])", 6)
    case("sum([])", 0)
    case("prod([2, -3, 4])", -24)
    case("max([3, 9, 4])", 9)
    case("min([0.5, -2])", -2.0)
    case("mean([1, 2])", 1.5)
    case("sum(5)", 5)
    case("sum(arange(5))", np.array(10))
    case("sum([16777217, 1])", 16777218)
    case("max([16777217, 1])", 16777217)
    case(f"var({a}, correction: 1)", float(np.var(A, ddof=1)))
    case(f"std({x3}, 1, correction: 1)", np.std(X3, axis=1, ddof=1))
    case("var(full([2], 300.0, float16))", np.zeros((), np.float16))
    case(f"norm({v})", float(np.linalg.norm(V)))
    case(f"norm({a}, 1)", np.linalg.norm(A, axis=1))
    case(f"norm({a}, dim: 0, p: 1)", np.abs(A).sum(0))
    case(f"norm({a}, axis: 0, keepdim: true, p: 3)", (np.abs(A) ** 3).sum(0, keepdims=True) ** (1 / 3))
    case("any([0, 0, 3])", True)
    case("any(zeros([2, 2]), 0)", np.array([False, False]))
    case("all([[1, 0], [2, 3]], 1)", np.array([False, True]))
    case("all([true, true])", True)
    case(f"argmax({a})", 3)
    case(f"argmax({a}, 0)", np.argmax(A, 0))
    case(f"argmin({a}, dim: 1)", np.argmin(A, 1))
    case(f"argmax({v}, 0)", 2)
    case(f"argmax({a}, 1, keepdim: true)", np.argmax(A, 1, keepdims=True))
    case(f"argmax({a}, keepdim: true)", np.array([[3]]))
    case("argmax([1, 5, 5])", 1)
    case("argmin([16777217, 16777216])", 1)
    case(f"cumsum({a})", np.cumsum(A, -1))
    case(f"cumsum({a}, dim: 0)", np.cumsum(A, 0))
    case(f"sort({x3}, 0, descending: true)", -np.sort(-X3, 0))
    case(f"sort({a})", np.sort(A))
    case(f"argsort({a}, axis: 1)", np.argsort(A, 1, kind="stable"))
    case(f"argsort({v}, descending: true)", np.argsort(-V, kind="stable"))
    case(f"topk({a}, 2)", [-np.sort(-A, 1)[:, :2], np.argsort(-A, 1, kind="stable")[:, :2]])
    case(f"topk({a}, 1, dim: 0, largest: false)", [np.sort(A, 0)[:1], np.argsort(A, 0, kind="stable")[:1]])


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def rope(x, position=0, base=10000.0, style="norm", dims=0, scale=1.0, factors=None):
    """x[position, head, head_dim]"""
    dims = dims or x.shape[-1]
    out = x.copy()
    for p in range(x.shape[0]):
        for i in range(dims // 2):
            angle = (position + p) * scale * base ** (-2 * i / dims) / (factors[i] if factors is not None else 1)
            j, k = (2 * i, 2 * i + 1) if style == "norm" else (i, i + dims // 2)
            out[p, ..., j] = x[p, ..., j] * math.cos(angle) - x[p, ..., k] * math.sin(angle)
            out[p, ..., k] = x[p, ..., j] * math.sin(angle) + x[p, ..., k] * math.cos(angle)
    return out


def attention(q, k, v, mask=None, scale=None):
    group = q.shape[1] // k.shape[1]
    out = np.zeros((q.shape[0], q.shape[1], v.shape[2]))
    for h in range(q.shape[1]):
        s = q[:, h] @ k[:, h // group].T * (scale if scale is not None else 1 / math.sqrt(q.shape[2]))
        if mask is not None:
            s = np.where(mask, s, -np.inf)
        out[:, h] = softmax(s) @ v[:, h // group]
    return out


def layers():
    case(f"matmul({a}, transpose({b}))", A @ B.T)
    case(f"matmul({v}, {v})", np.array(V @ V))
    case(f"matmul({x3}, {v})", X3 @ V)
    case(f"linear({a}, {b})", A @ B.T)
    case(f"linear({a}, {b}, [0.5, -1.0])", A @ B.T + [0.5, -1.0])
    case(f"linear([1.0, 2.0, 3.0], {b}, bias: [0.5, -1.0])", B @ [1, 2, 3] + [0.5, -1.0])
    case(f'einsum("id,jd->ij", {a}, {b})', A @ B.T)
    case(f'einsum("ij->j", {a})', A.sum(0))
    case(f'einsum("...d,d", {x3}, {v})', X3 @ V)
    case(f"embedding({a}, [1, 0, 1])", A[[1, 0, 1]])
    case(f"embedding({a}, 1)", A[1])
    case(f"embedding({a}, arange(2))", A)
    case(f"softmax({a})", softmax(A))
    case(f"softmax({a}, 0)", softmax(A, 0))
    case(f"softmax({x3}, dim: 1)", softmax(X3, 1))
    case("softmax([1000.0, 1001.0])", softmax(np.array([0.0, 1.0])))
    keep = np.array([[1, 1, 0], [0, 1, 1]], bool)
    masked = softmax(np.where(keep, A, -np.inf))
    case(f"softmax({a}, mask: {literal(keep)})", masked)
    case(f"softmax({a}, 1, [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])", masked)
    case(f"log_softmax({a})", np.log(softmax(A)))
    case(f"log_softmax({a}, axis: 0)", np.log(softmax(A, 0)))
    rms = lambda x, eps: x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    case(f"rms_norm({a})", rms(A, 1e-5))
    case(f"rms_norm({a}, [1.0, 2.0, -0.5])", rms(A, 1e-5) * [1, 2, -0.5])
    case(f"rms_norm({a}, [1.0, 2.0, -0.5], 0.5)", rms(A, 0.5) * [1, 2, -0.5])
    case(f"rms_norm({x3}, eps: 0.25)", rms(X3, 0.25))
    norm = lambda x, eps: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
    case(f"layer_norm({a})", norm(A, 1e-5))
    case(f"layer_norm({a}, [1.0, 2.0, -0.5], [0.5, 0.0, 1.0])", norm(A, 1e-5) * [1, 2, -0.5] + [0.5, 0, 1])
    case(f"lnorm({a}, beta: [0.5, 0.0, 1.0], eps: 0.5)", norm(A, 0.5) + [0.5, 0, 1])
    mean, var = X3.mean((0, 2), keepdims=True), X3.var((0, 2), keepdims=True)
    gamma, beta = np.array([1.0, 2.0, -0.5])[:, None], np.array([0.5, 0.0, 1.0])[:, None]
    case(f"batch_norm({x3})", (X3 - mean) / np.sqrt(var + 1e-5))
    case(f"batch_norm({x3}, [1.0, 2.0, -0.5], [0.5, 0.0, 1.0], eps: 0.5)",
         (X3 - mean) / np.sqrt(var + 0.5) * gamma + beta)
    case(f"batch_norm({x3}, mean: [0.5, 0.0, 1.0], var: [1.0, 2.0, 0.5])",
         (X3 - beta) / np.sqrt(np.abs([[1.0], [2.0], [0.5]]) + 1e-5))
    case(f"swiglu({a}, {b})", A / (1 + np.exp(-A)) * B)
    case(f"dropout({a}, 0.5, 1)", A)
    case(f"dropout({a}, training: true)", A)
    draws = np.array([u >> 8 for u in philox_words(3, 0, 6)]).reshape(2, 3) * 2.0**-24
    case(f"dropout({a}, 0.5, seed: 3, training: true)", np.where(draws >= 0.5, A * 2, 0))
    case(f"dropout({a}, p: 0.25, seed: 3, training: true)", np.where(draws >= 0.25, A / 0.75, 0))


def attentions():
    case(f"rope({x3})", rope(X3))
    case(f"rope({x3}, 3)", rope(X3, 3))
    case(f'rope({x3}, position: 300, base: 500.0, style: "neox")', rope(X3, 300, 500.0, "neox"))
    case(f'rope({x3}, 5, dims: 2, scale: 0.25)', rope(X3, 5, dims=2, scale=0.25))
    case(f'rope({x3}, 5, style: "neox", factors: [1.0, 4.0])', rope(X3, 5, style="neox", factors=[1.0, 4.0]))
    case(f"rope({literal(X3[0])}, 2)", rope(X3[0], 2))
    rng = np.random.default_rng(1)
    q, k, w = (rng.integers(-8, 8, s) / 4 for s in [(2, 4, 3), (5, 2, 3), (5, 2, 2)])
    call = f"{literal(q)}, {literal(k)}, {literal(w)}"
    case(f"attention({call})", attention(q, k, w))
    case(f"attention({call}, scale: 0.125)", attention(q, k, w, scale=0.125))
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1]], bool)
    case(f"attention({call}, {literal(mask)})", attention(q, k, w, mask))
    causal = np.tri(2, 5, 3, dtype=bool)
    case(f"attention({call}, causal: true)", attention(q, k, w, causal))
    case(f"attention({call}, {literal(mask)}, causal: true)", attention(q, k, w, mask & causal))
    square = f"{literal(k)}, {literal(k)}, {literal(w)}"
    case(f"attention({square}, causal: true)", attention(k, k, w, np.tri(5, dtype=bool)))
    case(f"apply_mask({a}, [1, 0, 1])", np.where([1, 0, 1], A, 0))
    case(f"apply_mask({a}, [[true], [false]], -1)", np.where([[1], [0]], A, -1))
    case(f"apply_attention_mask({a}, [1.0, 0.0, 1.0])", np.where([1, 0, 1], A, -np.inf))
    case("padding_mask([2, 0, 3])", np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]], bool))
    case("padding_mask([2, 1], 4)", np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool))
    case("padding_mask(arange(3), width: 2)", np.array([[0, 0], [1, 0], [1, 1]], bool))
    for k in [0, 1, -1, 5, -5]:
        case(f"tril({a}, {k})", np.tril(A, k))
        case(f"triu({x3}, k: {k})", np.triu(X3, k))
    case("tril(reshape(arange(6), [2, 3]))", np.tril(np.arange(6).reshape(2, 3)))
    case("triu(ones([2, 2], bool), 1)", np.triu(np.ones((2, 2), bool), 1))
    case("combine_masks([[1], [0]], [true, false])", np.array([[True, False], [False, False]]))


def losses():
    case(f"mse({a}, {b})", np.array(((A - B) ** 2).mean()))
    log_p = np.log(softmax(A))
    case(f"cross_entropy({a}, [2, 0])", np.array(-(log_p[0, 2] + log_p[1, 0]) / 2))
    case("cross_entropy([1.0, 3.0], 1)", np.array(math.log(1 + math.exp(-2))))
    p = np.array([[0.25, 0.5, 0.25], [0.0, 1.0, 0.0]])
    case(f"cross_entropy({a}, reshape({literal(p)}, [2, 3]))", np.array(-(p * log_p).sum(1).mean()))
    y, p = np.array([1.0, 0.0, 0.5]), np.array([0.75, 0.125, 0.5])
    case(f"binary_cross_entropy({literal(p)}, {literal(y)})",
         np.array(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()))
    case("binary_cross_entropy([1.0, 0.0], [1, 1])", np.array(50.0))
    case("margin_ranking_loss([2.0, 0.5], [0.0, 1.0], 1.0)", np.array(0.75))
    case("margin_ranking_loss([2.0, 0.5], [0.0, 1.0], margin: 3)", np.array((1 + 3.5) / 2))


def complex_score(h, r, t):
    c = lambda x: x[..., : x.shape[-1] // 2] + 1j * x[..., x.shape[-1] // 2 :]
    return (c(h) * c(r) * c(t).conj()).sum(-1).real


def knowledge():
    h, r = np.array([0.5, -1.0, 2.0, 0.25]), np.array([1.0, 0.5, -0.5, 2.0])
    t = X3[0]
    call = f"{literal(h)}, {literal(r)}, {literal(t)}"
    case(f"transe_score({call})", -np.linalg.norm(h + r - t, axis=-1))
    case(f'transe_score({call}, "L1")', -np.abs(h + r - t).sum(-1))
    case(f"transe_score({call}, p: 1)", -np.abs(h + r - t).sum(-1))
    case(f"transe_score({literal(h)}, {literal(r)}, {literal(h)})", np.array(-np.linalg.norm(r)))
    case(f"distmult_score({call})", (h * r * t).sum(-1))
    case(f"distmult_score({literal(t)}, {literal(r)}, {literal(t[::-1])})", (t * r * t[::-1]).sum(-1))
    case(f"complex_score({call})", complex_score(h, r, t))
    case(f"complex_score({literal(t)}, {literal(r)}, {literal(h)})", complex_score(t, r, h))
    s = np.array([[3.0, 1.0, 2.0, 2.0], [0.5, 0.5, 0.5, 0.5], [1.0, 4.0, 2.0, -1.0]])
    case(f"ranks({literal(s)}, [2, 1, 3])", np.array([2.5, 2.5, 4.0]))
    case(f"ranks({literal(s)}, [0, 0, 1])", np.array([1.0, 2.5, 1.0]))
    case(f"ranks({literal(s[0])}, 1)", np.array(4.0))
    known = np.array([[1, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], bool)
    case(f"ranks({literal(s)}, [2, 1, 3], known: {literal(known)})", np.array([1.5, 1.0, 2.0]))
    case(f"ranks({literal(s)}, [2, 1, 3], {literal(known.astype(int))})", np.array([1.5, 1.0, 2.0]))
    case("mean_reciprocal_rank([1, 2.5, 4])", np.array((1 + 0.4 + 0.25) / 3))
    case("mrr([2])", np.array(0.5))
    case("hits_at_k([1, 10, 10.5, 11])", np.array(0.5))
    case("hits_at_k([1, 2, 3, 4], k: 1)", np.array(0.25))
    graph = np.zeros((4, 4))
    graph[[0, 1, 1, 2], [1, 0, 2, 1]] = 1
    case("adjacency([[0, 1], [1, 2], [2, 1]], 4)", graph)
    directed = np.zeros((3, 3))
    directed[[0, 2], [1, 2]] = 1
    case("adjacency([[0, 1], [2, 2], [0, 1]], 3, directed: true)", directed)
    case("adjacency([], 2)", np.zeros((2, 2)))
    looped = graph + np.eye(4)
    scale = 1 / np.sqrt(looped.sum(1))
    case(f"normalize_adjacency({literal(graph)})", scale[:, None] * looped * scale)
    degree = graph.sum(1)
    scale = np.where(degree == 0, 0, 1 / np.sqrt(np.where(degree == 0, 1, degree)))
    case(f"normalize_adjacency({literal(graph)}, self_loops: false)", scale[:, None] * graph * scale)
    x = np.array([[1.0, -2.0], [3.0, 0.25], [-1.0, 4.0], [7.0, 7.0]])
    weighted = graph * np.array([1.0, 2.0, 0.5, 1.0])
    for name, g in {"a": graph, "b": weighted, "c": graph[:2]}.items():
        args = f"{literal(x)}, {literal(g)}"
        case(f"aggregate_neighbors({args})", g @ x)
        total = g.sum(1, keepdims=True)
        case(f'aggregate_neighbors({args}, "mean")', np.where(total == 0, 0, g @ x / np.where(total == 0, 1, total)))
        best = np.where(g[:, :, None] != 0, x, -np.inf).max(1)
        case(f'aggregate_neighbors({args}, reduce: "max")', np.where(np.isinf(best), 0, best))


def sampling():
    inf = -np.inf
    case(f"temperature_sample({v}, 0.0)", 2)
    case(f"temperature_sample({a}, 0)", 0)
    case("temperature_sample([1.0, 2.0, 2.0], 0)", 1)
    case("sample([1.0, 2.0, 2.5], 0)", 2)
    case("sample([1.0, 2.0, 2.5], temp: 0, repeat_penalty: 2.0, recent: [2])", 1)
    case("sample([1.0, 2.0, 2.5], 1.0, top_k: 1, seed: 9)", 2)
    case("sample([1.0, 2.0, 2.5], 1.0, top_k: 0, top_p: 0.0, min_p: 0.0, seed: 9)", 2)
    case(f"top_k({a}, 2)", np.array([[1.0, inf, 0.5], [3.0, 0.25, inf]]))
    case("top_k([1.0, 2.0, 2.0, 2.0], 2)", np.array([inf, 2.0, 2.0, inf]))
    case("top_k([1.0, 2.0], 40)", np.array([1.0, 2.0]))
    # probabilities 0.015, 0.831, 0.112, 0.041
    case("top_p([0.0, 4.0, 2.0, 1.0], 0.8)", np.array([inf, 4.0, inf, inf]))
    case("top_p([0.0, 4.0, 2.0, 1.0], 0.9)", np.array([inf, 4.0, 2.0, inf]))
    case("top_p([[0.0, 4.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]], 0.5)",
         np.array([[inf, 4.0, inf, inf], [1.0, 1.0, inf, inf]]))
    case("top_p([0.0, 4.0, 2.0, 1.0], 0)", np.array([inf, 4.0, inf, inf]))
    case("top_p([0.0, 4.0, 2.0, 1.0], 1.0)", np.array([0.0, 4.0, 2.0, 1.0]))
    # exp(-2) = 0.1353
    case("min_p([0.0, 4.0, 2.0, 1.0], 0.13)", np.array([inf, 4.0, 2.0, inf]))
    case("min_p([[0.0, 4.0, 2.0, 1.0], [0.0, 0.5, 0.0, 0.0]], 0.14)",
         np.array([[inf, 4.0, inf, inf], [0.0, 0.5, 0.0, 0.0]]))
    case("min_p([0.0, 4.0], 0)", np.array([0.0, 4.0]))


NAMES = {np.dtype(np.float64): "float32", np.dtype(np.longdouble): "float64", np.dtype(np.float16): "float16",
         np.dtype(np.int64): "int64", np.dtype(np.int32): "int32", np.dtype(bool): "bool"}


def number(x):
    return str(int(x)) if isinstance(x, (bool, np.bool_, int, np.integer)) else repr(float(x))


def text(value):
    """type: numbers"""
    if isinstance(value, list):
        return "list " + " | ".join(text(item) for item in value)
    if isinstance(value, bool):
        return f"bool: {int(value)}"
    if isinstance(value, (int, np.integer)):
        return f"int: {value}"
    if isinstance(value, float):
        return f"float: {value!r}"
    value = np.asarray(value)
    shape = "[" + ", ".join(map(str, value.shape)) + "]"
    return f"{NAMES[value.dtype]}{shape}: " + " ".join(number(x) for x in value.reshape(-1))


for part in [create, shapes, indices, maths, reductions, layers, attentions, losses, knowledge, sampling]:
    part()
for code, value in ROWS:
    print(code.replace("\n", "; ") + " => " + text(value))

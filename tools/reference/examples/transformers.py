"""examples/transformers in NumPy."""

from collections import Counter

import numpy as np

from common import arr, layer_norm, masked_softmax, positional_encoding, randn, relu, rms_norm, rope as turn, softmax


def multi_head_attention():
    q = arr([[1, 0], [0, 1]], [[1, 1], [2, 0]], [[0, 1], [1, 1]])
    k = arr([[1, 0], [1, 0]], [[0, 1], [0, 1]], [[1, 1], [1, -1]])
    v = np.arange(1, 13.0).reshape(3, 2, 2)
    weights = np.stack([masked_softmax(q[:, h] @ k[:, h].T / np.sqrt(2), np.tri(3, dtype=bool)) for h in (0, 1)])
    yield [weights, np.stack([weights[h] @ v[:, h] for h in (0, 1)], 1)]


def rope():
    x = arr([1, 0, 1, 0], [1, 0, 1, 0])
    yield [turn(x, 1), turn(x, 1, "neox")]
    score = np.cos(2) + np.cos(0.02)
    yield [score, score]


def llama_block():
    wq, wk, wv, wo = (randn((n, 8), seed) / 3 for n, seed in ((8, 1), (4, 2), (4, 3), (8, 4)))
    gate, up, down = randn((16, 8), 5) / 3, randn((16, 8), 6) / 3, randn((8, 16), 7) / 4
    x = randn((5, 8), 8)
    normal = rms_norm(x)
    q = turn((normal @ wq.T).reshape(5, 4, 2), 0)
    k = turn((normal @ wk.T).reshape(5, 2, 2), 0).repeat(2, 1)
    v = (normal @ wv.T).reshape(5, 2, 2).repeat(2, 1)
    heads = [masked_softmax(q[:, h] @ k[:, h].T / np.sqrt(2), np.tri(5, dtype=bool)) @ v[:, h] for h in range(4)]
    middle = x + np.concatenate(heads, 1) @ wo.T
    inner = rms_norm(middle)
    g = inner @ gate.T
    yield (middle + (g / (1 + np.exp(-g)) * (inner @ up.T)) @ down.T)[4]
    yield "cache [5, 2, 2] token by token differs by less than 1e-5: true true"


def encoder_block():
    x = arr([0.5, -0.5, 1.0, 0.0], [1.0, 0.25, -1.0, 0.5], [0.0, 1.0, 0.5, -0.25]) + positional_encoding(3, 4)
    weights = softmax(x @ x.T / 4 / 2)
    middle = layer_norm(x + weights @ x)
    yield [weights, layer_norm(middle + relu(middle / 2) / 2)]


def kept(logits, keep):
    """softmax of the logits whose places are in keep."""
    return softmax(np.where(np.isin(np.arange(len(logits)), list(keep)), logits, -np.inf))


def nucleus(logits, p):
    order, total, keep = np.argsort(-softmax(logits), kind="stable"), 0.0, []
    for i in order:
        if total < p:
            keep.append(i)
        total += softmax(logits)[i]
    return keep


def top_p_sampling():
    logits = arr(2, 0, 1, 3, -1)
    order = np.argsort(-logits)
    p = kept(logits, nucleus(logits, 0.9))[order]
    yield [order, p]
    yield [order[np.searchsorted(np.cumsum(p), u, side="right")] for u in (0.1, 0.7, 0.95)]
    yield "never drawn: true true token 3 about as often as it should: true"


def sampling():
    logits = arr(2, 0, 1, 3, -1)
    p = softmax(logits)
    yield [p, softmax(logits / 0.5), kept(logits, [0, 3]), kept(logits, nucleus(logits, 0.85))]
    yield kept(logits, np.flatnonzero(p >= 0.2 * p.max()))
    yield [3, 3, 3, "Top 3 of 5 logits:"]
    for place, i in enumerate([3, 0, 2]):
        yield f"{place + 1}: id {i} logit {logits[i]:.4f} p {p[i]:.4f}"


def mixture_of_experts():
    x = arr([1, 0], [0, 1], [1, 1])
    score = x @ arr([2, 0], [0, 2], [1, 1], [-1, -1]).T
    weight = np.stack([kept(s, np.argsort(-s, kind="stable")[:2]) for s in score])
    outputs = np.stack([x, x[:, ::-1], 2 * x, 9 * x.sum(1, keepdims=True).repeat(2, 1)], 1)
    yield [weight, np.einsum("ne,neo->no", weight, outputs)]


def bpe_tokenizer():
    words = [list(w) for w in ["low", "low", "lower", "newest", "newest", "newest", "widest"]]
    def merged(word, pair):
        text = "\0".join(["", *word, ""])
        while (joined := text.replace("\0" + "\0".join(pair) + "\0", "\0" + "".join(pair) + "\0")) != text:
            text = joined
        return text.strip("\0").split("\0")
    merges = []
    for _ in range(6):
        count = Counter(pair for word in words for pair in zip(word, word[1:]))
        merges.append(max(count, key=lambda p: count[p]))
        words = [merged(w, merges[-1]) for w in words]
    yield [" ".join(m) for m in merges]
    for word in ("lowest", "newer"):
        word = list(word)
        for pair in merges:
            word = merged(word, pair)
        yield word


def bigram_model():
    text = "hello there, the hen"
    letters = list(dict.fromkeys(text))
    count = np.full((len(letters),) * 2, 0.1)
    for a, b in zip(text, text[1:]):
        count[letters.index(a), letters.index(b)] += 1
    p = count / count.sum(1, keepdims=True)
    yield [len(letters), "letters", [letters.index(c) for c in text[:6]]]
    logs = [np.log(p[letters.index(a), letters.index(b)]) for a, b in zip(text, text[1:])]
    yield ["perplexity", round(np.exp(-np.mean(logs)), 3)]
    written = "t"
    for _ in range(6):
        written += letters[p[letters.index(written[-1])].argmax()]
    yield written


def beam_search():
    p = arr([0.2, 0.3, 0.5], [0.05, 0.9, 0.05], [0.4, 0.3, 0.3])
    greedy = [0]
    for _ in range(3):
        greedy.append(int(p[greedy[-1]].argmax()))
    yield ["greedy", greedy]
    beams = [([0], 1.0)]
    for _ in range(3):
        beams = sorted(((i + [t], q * p[i[-1], t]) for i, q in beams for t in range(3)), key=lambda b: -b[1])[:2]
    for ids, q in beams:
        yield ["beam", ids, "probability", q]


def sliding_window():
    i, j = np.indices((5, 5))
    mask = (j <= i) & (j > i - 3)
    yield [masked_softmax((np.arange(25) % 4).reshape(5, 5), mask), mask, True]


def embedding_lookup():
    table = np.vstack([np.eye(3), np.ones(3)])
    x = table[[3, 0, 2]]
    yield [x, True, True, x @ table.T, (x @ table.T).argmax(1)]

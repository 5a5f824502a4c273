"""What two sets of logits have to say about each other."""
import numpy as np


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl_divergence(reference, logits):
    """KL(reference || logits) of each row, in nats."""
    p, q = log_softmax(reference), log_softmax(logits)
    return (np.exp(p) * (p - q)).sum(-1)


def relative_l2(x, reference):
    return float(np.linalg.norm(x.astype(np.float64) - reference) / np.linalg.norm(reference))


def top_two(logits):
    """Ids [rows, 2] of the two largest logits, and the gap between them [rows]."""
    two = np.argpartition(-logits, 1, axis=-1)[:, :2]
    values = np.take_along_axis(logits, two, -1)
    two = np.where((values[:, :1] < values[:, 1:]), two[:, ::-1], two)
    return two, np.abs(values[:, 0].astype(np.float64) - values[:, 1])

// The kernels of the reference backend. What each computes is said by its row of the op table. All take
// inputs of any strides and any plain type and compute floats in double; quantised tensors may stand as the
// weights of `linear` and the table of `embedding`.
#pragma once

#include "backend/backend.h"

namespace tl::reference {

/// Fills the rows of the elementwise and reducing operations.
void add_elementwise(KernelTable& table);
void add_reductions(KernelTable& table);

void iota(const KernelArgs& args);
void affine_mask(const KernelArgs& args);
void random_uniform(const KernelArgs& args);
void random_normal(const KernelArgs& args);

void copy(const KernelArgs& args);
void concat(const KernelArgs& args);
void pad(const KernelArgs& args);
void take(const KernelArgs& args);
void gather(const KernelArgs& args);
void scatter(const KernelArgs& args);
void cache_append(const KernelArgs& args);

void argmax(const KernelArgs& args);
void argmin(const KernelArgs& args);
void cumsum(const KernelArgs& args);
void sort(const KernelArgs& args);
void argsort(const KernelArgs& args);
void top_k(const KernelArgs& args);
void draw(const KernelArgs& args);

void contract(const KernelArgs& args);
void matmul(const KernelArgs& args);
void linear(const KernelArgs& args);
void embedding(const KernelArgs& args);

void softmax(const KernelArgs& args);
void log_softmax(const KernelArgs& args);
void rms_norm(const KernelArgs& args);
void layer_norm(const KernelArgs& args);

void rope(const KernelArgs& args);
void attention(const KernelArgs& args);

/// A kernel whose sums are rounded to `type` after every addition; null where an operation sums nothing, or
/// the type is float64.
const Kernel* summing_kernel(Op op, DType type);

}  // namespace tl::reference

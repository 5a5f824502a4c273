// The kernels of the cpu backend. What each computes is said by its row of the op table. Floats are computed
// in float32 by the inner loops of the chosen instruction set (isa.h); everything here is compiled once, for
// any processor.
#pragma once

#include "backend/backend.h"

namespace tl::cpu {

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

}  // namespace tl::cpu

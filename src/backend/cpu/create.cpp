// Tensors made from numbers alone.
#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"
#include "ops/random.h"

namespace tl::cpu {

void iota(const KernelArgs& args) {
  for (int64_t i = 0; i < args.out.elements(); ++i) store_int(args.out, i * args.out.strides()[0], i);
}

void affine_mask(const KernelArgs& args) {
  const auto& coefficients = args.attr<AffineMaskAttrs>().coefficients;
  const Shape& shape = args.out.shape();
  const int64_t offset = args.params.ints[static_cast<size_t>(shape.rank())];
  // The mask is true where an index into an imaginary tensor with these strides is not negative.
  const Walk<2> over(shape, {args.out.strides(), Shape(coefficients)});
  over.each(args.pool, 1, [&](const auto& at) { args.out.data<uint8_t>()[at[0]] = at[1] + offset >= 0; });
}

namespace {
void fill_random(const KernelArgs& args, float (*value)(uint64_t seed, uint64_t i)) {
  const auto seed = static_cast<uint64_t>(args.params.ints[0]);
  TL_CHECK(args.out.is_contiguous(), "random numbers fill a contiguous result");
  args.pool.parallel_for(args.out.elements(), kGrain / 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.out.data<float>()[i] = value(seed, static_cast<uint64_t>(i));
  });
}
}  // namespace

void random_uniform(const KernelArgs& args) { fill_random(args, tl::random_uniform); }
void random_normal(const KernelArgs& args) { fill_random(args, tl::random_normal); }

}  // namespace tl::cpu

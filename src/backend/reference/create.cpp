// Tensors made from numbers alone.
#include "backend/reference/kernels.h"
#include "backend/reference/strided.h"
#include "ops/random.h"

namespace tl::reference {

void iota(const KernelArgs& args) {
  const int64_t step = args.out.strides()[0];
  for (int64_t i = 0; i < args.out.elements(); ++i) store_int(args.out, i * step, i);
}

void affine_mask(const KernelArgs& args) {
  const auto& coefficients = args.attr<AffineMaskAttrs>().coefficients;
  const Shape& shape = args.out.shape();
  const int64_t offset = args.params.ints[static_cast<size_t>(shape.rank())];
  // The mask is true where an index into an imaginary tensor with these strides is not negative.
  const Walk<2> over{shape, {args.out.strides(), Shape(coefficients)}};
  over.each(args.pool, 1, [&](const auto& at) { store_int(args.out, at[0], at[1] + offset >= 0); });
}

namespace {
void fill_random(const KernelArgs& args, float (*value)(uint64_t seed, uint64_t i)) {
  const auto seed = static_cast<uint64_t>(args.params.ints[0]);
  const Shape& shape = args.out.shape();
  const Walk<2> over{shape, {args.out.strides(), row_major_strides(shape)}};
  over.each(args.pool, 16, [&](const auto& at) {
    store_double(args.out, at[0], static_cast<double>(value(seed, static_cast<uint64_t>(at[1]))));
  });
}
}  // namespace

void random_uniform(const KernelArgs& args) { fill_random(args, tl::random_uniform); }
void random_normal(const KernelArgs& args) { fill_random(args, tl::random_normal); }

}  // namespace tl::reference

// Elementwise operations of one input, and those that choose or convert.
#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/refusals.h"

namespace tl::cuda {

namespace {

template <Op op, class T>
__global__ void unary_kernel(Walk<2> over, Target out, Source x) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    out.set(at[0], plain(Functor<op>::apply(Functional<T>(x.at<T>(at[1])))));
  }
}

template <Op op>
void unary(const KernelArgs& args) {
  const auto over = walk(args.out.shape(), args.out, args.in[0]);
  if (over.elements == 0) return;
  const auto run = [&]<class T>(T) {
    const Source x = source_of(args.in[0]);
    launch(unary_kernel<op, T>, blocks_for(over.elements), kThreads, 0, over, target_of(args.out), x);
  };
  if (is_float(args.out.dtype())) return run(float{});
  if constexpr (takes_integers<op>)
    run(int64_t{});
  else
    TL_CHECK(false, "an operation on real numbers with an integer result");
}

template <class T>
__global__ void logical_not_kernel(Walk<2> over, Target out, Source x) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    out.set(at[0], static_cast<int64_t>(x.at<T>(at[1]) == 0));
  }
}

void logical_not(const KernelArgs& args) {
  const auto over = walk(args.out.shape(), args.out, args.in[0]);
  if (over.elements == 0) return;
  as_number(args.in[0].dtype(), [&]<class T>(T) {
    const Source x = source_of(args.in[0]);
    launch(logical_not_kernel<T>, blocks_for(over.elements), kThreads, 0, over, target_of(args.out), x);
  });
}

template <class T>
__global__ void select_kernel(Walk<4> over, Target out, Source condition, Source a, Source b) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    const bool chosen = condition.at<float>(at[1]) != 0;
    out.set(at[0], chosen ? a.at<T>(at[2]) : b.at<T>(at[3]));
  }
}

void select_elements(const KernelArgs& args) {
  const auto over = walk(args.out.shape(), args.out, args.in[0], args.in[1], args.in[2]);
  if (over.elements == 0) return;
  as_number(args.out.dtype(), [&]<class T>(T) {
    const Source condition = source_of(args.in[0]), a = source_of(args.in[1]), b = source_of(args.in[2]);
    launch(select_kernel<T>, blocks_for(over.elements), kThreads, 0, over, target_of(args.out), condition, a,
           b);
  });
}

__global__ void whole_part_kernel(Walk<2> over, Target out, Source x, float limit,
                                  unsigned long long* refused) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    const float whole = truncf(x.at<float>(at[1]));
    if (whole >= -limit && whole < limit)
      out.set(at[0], static_cast<int64_t>(whole));
    else
      atomicMin(refused, static_cast<unsigned long long>(at[1]));
  }
}

void cast(const KernelArgs& args) {
  const Tensor &x = args.in[0], &out = args.out;
  if (out.elements() == 0) return;
  if (!is_float(x.dtype()) || !is_int(out.dtype())) return copy_elements(out, x);
  const float limit = out.dtype() == DType::i8 ? 0x1p7f : out.dtype() == DType::i32 ? 0x1p31f : 0x1p63f;
  const auto over = walk(out.shape(), out, x);
  const Source from = source_of(x);
  launch(whole_part_kernel, blocks_for(over.elements), kThreads, 0, over, target_of(out), from, limit,
         Device::get().verdict());
  const unsigned long long refused = Device::get().read_verdict();
  if (refused != Device::kNothing)
    refuse_cast(static_cast<float>(load_double(x, static_cast<int64_t>(refused))), out.dtype());
}

}  // namespace

void add_unary(KernelTable& table) {
  const auto add = [&](Op op, void (*run)(const KernelArgs&)) {
    table[static_cast<size_t>(op)] = {run, DType::f32, false};
  };
#define X(name, ...) add(Op::name, unary<Op::name>);
  TL_UNARY_OPS(X)
#undef X
  add(Op::logical_not, logical_not);
  add(Op::select, select_elements);
  add(Op::cast, cast);
}

}  // namespace tl::cuda

// Operations that move elements without computing. They move bytes: the element type is a width.
#include <fmt/format.h>
#include <cstring>

#include "backend/cpu/kernels.h"
#include "backend/cpu/strided.h"
#include "tensor/blocks.h"

namespace tl::cpu {

namespace {

/// Calls body(T{}) with an unsigned integer as wide as the tensor's elements.
template <class Body>
void as_width(DType dtype, Body body) {
  switch (info(dtype).block_bytes) {
    case 1:
      return body(uint8_t{});
    case 2:
      return body(uint16_t{});
    case 4:
      return body(uint32_t{});
    default:
      return body(uint64_t{});
  }
}

/// Copies `from` into `to`, which has the same shape; converts where the types differ.
void copy_elements(ThreadPool& pool, const Tensor& to, const Tensor& from) {
  const auto over = walk(to.shape(), to, from);
  if (to.dtype() == from.dtype())
    return as_width(to.dtype(), [&]<class T>(T) {
      over.parallel(pool, 1, [&](const auto& at, int64_t n) {
        T* target = to.data<T>() + at[0];
        const T* source = from.data<T>() + at[1];
        if (over.step(0) == 1 && over.step(1) == 1)
          std::copy_n(source, n, target);
        else
          for (int64_t i = 0; i < n; ++i) target[i * over.step(0)] = source[i * over.step(1)];
      });
    });
  as_number(to.dtype(), [&]<class T>(T) {
    over.parallel(pool, 1, [&](const auto& at, int64_t n) {
      std::array<T, kRun> values;
      store_run(to, at[0], over.step(0), n, load_run(from, at[1], over.step(1), n, values.data()));
    });
  });
}

/// The part of `t` that starts `start` elements along `axis` and is `length` long.
Tensor part(const Tensor& t, int axis, int64_t start, int64_t length) {
  Shape shape = t.shape();
  shape[axis] = length;
  return t.view(shape, t.strides(), start * t.strides()[axis]);
}

/// An index read from a tensor, checked against the axis it indexes.
int64_t checked_index(Op op, const Tensor& index, int64_t offset, const Tensor& x, int axis) {
  const int64_t i = load_int(index, offset);
  if (i < 0 || i >= x.shape()[axis])
    throw Error(fmt::format("[{}] index {} is out of range for axis {} of {}: expected 0 to {}", name(op), i,
                            axis, to_string(x.shape()), x.shape()[axis] - 1));
  return i;
}

}  // namespace

void copy(const KernelArgs& args) {
  TL_CHECK(args.out.is_contiguous(), "reshape writes a contiguous result");
  copy_elements(args.pool, args.out.reshaped(args.in[0].shape()), args.in[0]);
}

void concat(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  int64_t start = 0;
  for (const Tensor& x : args.in) {
    copy_elements(args.pool, part(args.out, axis, start, x.shape()[axis]), x);
    start += x.shape()[axis];
  }
}

void pad(const KernelArgs& args) {
  const Tensor fill(args.out.dtype(), {});
  store_double(fill, 0, args.params.floats[0]);
  copy_elements(args.pool, args.out, fill);
  Tensor inside = args.out;
  for (int a = 0; a < inside.rank(); ++a)
    inside = part(inside, a, args.params.ints[2 * static_cast<size_t>(a)], args.in[0].shape()[a]);
  copy_elements(args.pool, inside, args.in[0]);
}

void take(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  const Tensor &x = args.in[0], &index = args.in[1], &out = args.out;
  // Walk the result with strides 0 along the index's axes in x, and along all others in the index.
  Shape in_x, in_index;
  for (int a = 0; a < out.rank(); ++a) {
    const int i = a - axis;
    const bool from_index = i >= 0 && i < index.rank();
    in_index.push_back(from_index ? index.strides()[i] : 0);
    in_x.push_back(from_index ? 0 : x.strides()[a < axis ? a : a - index.rank() + 1]);
  }
  const Walk<3> over(out.shape(), {out.strides(), in_x, in_index});
  as_width(out.dtype(), [&]<class T>(T) {
    over.each(args.pool, 2, [&](const auto& at) {
      const int64_t i = checked_index(Op::take, index, at[2], x, axis);
      out.data<T>()[at[0]] = x.data<T>()[at[1] + i * x.strides()[axis]];
    });
  });
}

void gather(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  const Tensor &x = args.in[0], &index = args.in[1], &out = args.out;
  Shape in_x = x.strides();
  in_x[axis] = 0;
  const Walk<3> over(out.shape(), {out.strides(), in_x, index.strides()});
  as_width(out.dtype(), [&]<class T>(T) {
    over.each(args.pool, 2, [&](const auto& at) {
      const int64_t i = checked_index(Op::gather, index, at[2], x, axis);
      out.data<T>()[at[0]] = x.data<T>()[at[1] + i * x.strides()[axis]];
    });
  });
}

void scatter(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  const Tensor &x = args.in[0], &index = args.in[1], &out = args.out;
  const Tensor source = args.in[2].dtype() == out.dtype() ? args.in[2] : converted(args.in[2], out.dtype());
  copy_elements(args.pool, out, x);
  Shape in_out = out.strides();
  in_out[axis] = 0;
  const Walk<3> over(index.shape(), {in_out, index.strides(), source.strides()});
  // Of several sources for one element the last one stays, so this goes in order.
  as_width(out.dtype(), [&]<class T>(T) {
    over.each_in_order([&](const auto& at) {
      const int64_t i = checked_index(Op::scatter, index, at[1], x, axis);
      out.data<T>()[at[0] + i * out.strides()[axis]] = source.data<T>()[at[2]];
    });
  });
}

void cache_append(const KernelArgs& args) {
  const Tensor& x = args.in[1];
  const Tensor rows = part(args.out, 0, args.params.ints[0], x.shape()[0]);
  if (rows.dtype() != DType::q8_0) return copy_elements(args.pool, rows, x);
  const Tensor values = x.is_contiguous() ? x : converted(x, DType::f32);
  const int64_t blocks = values.elements() / 32;
  args.pool.parallel_for(blocks, kGrain / 32, [&](int64_t begin, int64_t end) {
    encode_q8_0(values.data<float>() + begin * 32, rows.at(begin * 32), (end - begin) * 32);
  });
}

}  // namespace tl::cpu

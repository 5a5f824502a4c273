// Operations that move elements without computing, and conversions between types.
#include "backend/cuda/blocks.cuh"
#include "backend/cuda/kernels.h"
#include "backend/cuda/refusals.h"
#include "backend/cuda/row_operation.cuh"
#include "backend/cuda/strided.cuh"
#include "tensor/block_layouts.h"

namespace tl::cuda {

namespace {

template <class T>
__global__ void copy_kernel(Walk<2> over, T* to, const T* from) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    to[at[0]] = from[at[1]];
  }
}

template <class T>
__global__ void convert_kernel(Walk<2> over, Target to, Source from) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    to.set(at[0], from.at<T>(at[1]));
  }
}

/// Rows behind `*row` others.
__global__ void append_kernel(Walk<2> over, Target to, Source from, Number row, int64_t row_stride) {
  take_turn();
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    to.set(at[0] + *row * row_stride, from.at<float>(at[1]));
  }
}

/// The same in blocks of 8 bits, as encode_q8_0() makes them: a warp takes 32 elements.
__global__ void append_blocks_kernel(Walk<2> over, BlockQ8_0* to, Source from, Number row,
                                     int64_t row_stride) {
  take_turn();
  constexpr unsigned short kNan = 0x7e00;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (blockDim.x / 32);
  for (int64_t b = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; b < over.elements / 32;
       b += warps) {
    const auto at = over.offsets(32 * b + lane);
    const auto x = from.at<float>(at[1]);
    const float step = warp_max(fabsf(x)) / 127.0f, inverse = step > 0 ? 1.0f / step : 0.0f;
    const __half scale = __float2half_rn(step);
    const bool finite = __all_sync(~0u, isfinite(x)) && !__hisinf(scale);
    BlockQ8_0& block = to[(at[0] + *row * row_stride) / 32];
    block.qs[lane] = finite && isfinite(inverse) ? static_cast<int8_t>(roundf(x * inverse)) : int8_t{0};
    if (lane == 0) block.d = finite ? __half_as_ushort(scale) : kNan;
  }
}

__global__ void decode_kernel(Walk<2> over, Target to, Blocks from) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    to.set(at[0], from.decode(at[1]));
  }
}

/// Calls body(T{}) with an unsigned integer as wide as the type's elements.
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

/// The part of `t` that starts `start` elements along `axis` and is `length` long.
Tensor part(const Tensor& t, int axis, int64_t start, int64_t length) {
  Shape shape = t.shape();
  shape[axis] = length;
  return t.view(shape, t.strides(), start * t.strides()[axis]);
}

/// An axis that indices read from: index `i` of it lies at i * stride.
struct Indexed {
  int64_t extent, stride;
  unsigned long long* refused;  ///< the least place of an index outside the axis

  __device__ bool find(int64_t index, int64_t place, int64_t& offset) const {
    if (index < 0 || index >= extent) {
      atomicMin(refused, static_cast<unsigned long long>(place));
      return false;
    }
    offset = index * stride;
    return true;
  }
};

Indexed indexed(const Tensor& x, int axis, int64_t stride) {
  return {x.shape()[axis], stride, Device::get().verdict()};
}

/// Throws the Error for an index outside its axis, if there was one.
void check_indices(Op op, const Tensor& index, const Tensor& x, int axis) {
  const unsigned long long refused = Device::get().read_verdict();
  if (refused != Device::kNothing)
    refuse_index(op, load_int(index, static_cast<int64_t>(refused)), axis, x.shape());
}

/// out = x read at indices: the walk holds the offsets in out, x and index.
template <class T>
__global__ void read_kernel(Walk<3> over, T* out, const T* x, Source index, Indexed axis) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    int64_t offset = 0;
    if (axis.find(index.at<int64_t>(at[2]), at[2], offset)) out[at[0]] = x[at[1] + offset];
  }
}

void read_at(const KernelArgs& args, const Walk<3>& over, Op op) {
  if (over.elements == 0) return;
  const int axis = args.attr<AxisAttrs>().axis;
  const Tensor &x = args.in[0], &index = args.in[1];
  as_width(args.out.dtype(), [&]<class T>(T) {
    const T* from = read<T>(x);
    const Source indices = source_of(index);
    launch(read_kernel<T>, blocks_for(over.elements), kThreads, 0, over, write<T>(args.out), from, indices,
           indexed(x, axis, x.strides()[axis]));
  });
  check_indices(op, index, x, axis);
}

/// Of several sources for one element the last one stays, so a thread does all of a line along the axis, in
/// order.
template <class T>
__global__ void scatter_kernel(Walk<3> lines, int64_t n, int64_t index_step, int64_t source_step, T* out,
                               Source index, const T* source, Indexed axis) {
  TL_EACH(i, lines.elements) {
    const auto at = lines.offsets(i);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t place = at[1] + k * index_step;
      int64_t offset = 0;
      if (axis.find(index.at<int64_t>(place), place, offset))
        out[at[0] + offset] = source[at[2] + k * source_step];
    }
  }
}

RowOperation row_append(const LaunchList& list, const LaunchList::Launch& launch) {
  const Arguments a(list, launch);
  const auto& over = a.get<Walk<2>>(0);
  const auto& from = a.get<Source>(2);
  const bool lines =
      over.rank == 1 && over.strides[0][0] == 1 && over.strides[1][0] == 1 && from.data != nullptr;
  if (!lines || from.dtype != DType::f32) return {};
  return RowAppend{over.elements, a.get<Target>(1), static_cast<const float*>(from.data), a.get<Number>(3),
                   a.get<int64_t>(4)};
}

}  // namespace

void tell_appends(RowMeanings& meanings) {
  meanings[reinterpret_cast<const void*>(append_kernel)] = row_append;
}

void copy_elements(const Tensor& to, const Tensor& from) {
  const auto over = walk(to.shape(), to, from);
  if (over.elements == 0) return;
  const unsigned blocks = blocks_for(over.elements);
  if (is_quantised(from.dtype())) {
    const Blocks source = blocks_of(from);
    launch(decode_kernel, blocks, kThreads, 0, over, target_of(to), source);
  } else if (to.dtype() == from.dtype() && from.dtype() != DType::boolean) {
    as_width(to.dtype(), [&]<class T>(T) {
      const T* source = read<T>(from);
      launch(copy_kernel<T>, blocks, kThreads, 0, over, write<T>(to), source);
    });
  } else {
    const Source source = source_of(from);
    if (is_float(from.dtype()))
      launch(convert_kernel<double>, blocks, kThreads, 0, over, target_of(to), source);
    else
      launch(convert_kernel<int64_t>, blocks, kThreads, 0, over, target_of(to), source);
  }
}

void copy(const KernelArgs& args) {
  TL_CHECK(args.out.is_contiguous(), "reshape writes a contiguous result");
  copy_elements(args.out.reshaped(args.in[0].shape()), args.in[0]);
}

void concat(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  int64_t start = 0;
  for (const Tensor& x : args.in) {
    copy_elements(part(args.out, axis, start, x.shape()[axis]), x);
    start += x.shape()[axis];
  }
}

void pad(const KernelArgs& args) {
  const Tensor fill(args.out.dtype(), {});
  store_double(fill, 0, args.params.floats[0]);
  copy_elements(args.out, fill);
  Tensor inside = args.out;
  for (int a = 0; a < inside.rank(); ++a)
    inside = part(inside, a, args.params.ints[2 * static_cast<size_t>(a)], args.in[0].shape()[a]);
  copy_elements(inside, args.in[0]);
}

void take(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  const Tensor &x = args.in[0], &index = args.in[1];
  // Strides 0 along the index's axes in x, and along all others in the index.
  Shape in_x, in_index;
  for (int a = 0; a < args.out.rank(); ++a) {
    const int i = a - axis;
    const bool from_index = i >= 0 && i < index.rank();
    in_index.push_back(from_index ? index.strides()[i] : 0);
    in_x.push_back(from_index ? 0 : x.strides()[a < axis ? a : a - index.rank() + 1]);
  }
  read_at(args, {args.out.shape(), {args.out.strides(), in_x, in_index}}, Op::take);
}

void gather(const KernelArgs& args) {
  Shape in_x = args.in[0].strides();
  in_x[args.attr<AxisAttrs>().axis] = 0;
  read_at(args, {args.out.shape(), {args.out.strides(), in_x, args.in[1].strides()}}, Op::gather);
}

void scatter(const KernelArgs& args) {
  const int axis = args.attr<AxisAttrs>().axis;
  const Tensor &x = args.in[0], &index = args.in[1], &source = args.in[2], &out = args.out;
  copy_elements(out, x);
  if (index.elements() == 0) return;
  const Walk<3> lines(
      without(index.shape(), axis),
      {without(out.strides(), axis), without(index.strides(), axis), without(source.strides(), axis)});
  as_width(out.dtype(), [&]<class T>(T) {
    const T* from = read<T>(source);
    const Source indices = source_of(index);
    launch(scatter_kernel<T>, blocks_for(lines.elements), kThreads, 0, lines, index.shape()[axis],
           index.strides()[axis], source.strides()[axis], write<T>(out), indices, from,
           indexed(x, axis, out.strides()[axis]));
  });
  check_indices(Op::scatter, index, x, axis);
}

void cache_append(const KernelArgs& args) {
  const Tensor& x = args.in[1];
  const Tensor first = part(args.out, 0, 0, x.shape()[0]);
  const auto over = walk(x.shape(), first, x);
  if (over.elements == 0) return;
  const Source from = source_of(x);
  const Target to = target_of(first);
  const Number row = Device::get().launches().number(args.params.ints[0]);
  if (first.dtype() == DType::q8_0)
    return launch_early(append_blocks_kernel, blocks_for(over.elements), kThreads, 0, over,
                        static_cast<BlockQ8_0*>(to.data), from, row, first.strides()[0]);
  launch_early(append_kernel, blocks_for(over.elements), kThreads, 0, over, to, from, row,
               first.strides()[0]);
}

}  // namespace tl::cuda

// Elementwise operations of two inputs.
#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/row_operation.cuh"

namespace tl::cuda {

namespace {

/// Whether an operation refuses some integers.
template <Op op>
constexpr bool kRefuses = op == Op::div || op == Op::mod || op == Op::pow;

/// The refusing operations on integers (ops/functors.h throws, which a device cannot); `refused` tells of
/// one.
template <Op op>
__device__ int64_t checked(int64_t a, int64_t b, bool& refused) {
  refused = op == Op::pow ? b < 0 : b == 0;
  if (refused) return 0;
  if constexpr (op == Op::pow) {
    uint64_t result = 1, square = static_cast<uint64_t>(a);
    for (auto exponent = static_cast<uint64_t>(b); exponent; exponent >>= 1, square *= square)
      if (exponent & 1) result *= square;
    return static_cast<int64_t>(result);
  }
  if (b == -1) return op == Op::mod ? 0 : static_cast<int64_t>(-static_cast<uint64_t>(a));
  return op == Op::mod ? a % b : a / b;
}

template <Op op, class T>
__global__ void binary_kernel(Walk<3> over, Target out, Source a, Source b) {
  take_turn();
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    out.set(at[0], plain(Functor<op>::apply(Functional<T>(a.at<T>(at[1])), Functional<T>(b.at<T>(at[2])))));
  }
}

template <Op op>
__global__ void checked_kernel(Walk<3> over, Target out, Source a, Source b, unsigned long long* refused) {
  TL_EACH(i, over.elements) {
    const auto at = over.offsets(i);
    bool wrong = false;
    out.set(at[0], checked<op>(a.at<int64_t>(at[1]), b.at<int64_t>(at[2]), wrong));
    if (wrong) atomicMin(refused, 0ull);
  }
}

/// What models compute on long lines of floats.
template <Op op>
constexpr bool kHasLines = op == Op::add || op == Op::mul || op == Op::swiglu;

/// Lines of floats, four at a time.
template <Op op>
__global__ void line_kernel(int64_t n, float* out, const float* a, const float* b) {
  take_turn();
  const auto apply = [](float x, float y) { return plain(Functor<op>::apply(Real32(x), Real32(y))); };
  TL_EACH(i, n / 4) {
    const float4 x = load4(a + 4 * i), y = load4(b + 4 * i);
    reinterpret_cast<float4*>(out)[i] = {apply(x.x, y.x), apply(x.y, y.y), apply(x.z, y.z), apply(x.w, y.w)};
  }
}

/// Whether all of them are lines of floats that can be read four at a time.
bool are_lines(const Walk<3>& over, const Target& out, const Source& a, const Source& b) {
  if (over.rank != 1 || over.elements % 4 != 0 || out.dtype != DType::f32) return false;
  const auto is_line = [&](int i, const void* data, DType dtype) {
    return over.strides[i][0] == 1 && data != nullptr && dtype == DType::f32 &&
           reinterpret_cast<uintptr_t>(data) % 16 == 0;
  };
  return is_line(0, out.data, out.dtype) && is_line(1, a.data, a.dtype) && is_line(2, b.data, b.dtype);
}

template <Op op, class T>
void run_binary(const KernelArgs& args) {
  const auto over = walk(args.out.shape(), args.out, args.in[0], args.in[1]);
  if (over.elements == 0) return;
  const Source a = source_of(args.in[0]), b = source_of(args.in[1]);
  const unsigned blocks = blocks_for(over.elements);
  if constexpr (kRefuses<op> && std::is_same_v<T, int64_t>) {
    launch(checked_kernel<op>, blocks, kThreads, 0, over, target_of(args.out), a, b, Device::get().verdict());
    if (Device::get().read_verdict() == Device::kNothing) return;
    (void)Functor<op>::apply(int64_t{1}, int64_t{op == Op::pow ? -1 : 0});  // says what is wrong
    return;
  }
  const Target out = target_of(args.out);
  if constexpr (kHasLines<op> && std::is_same_v<T, float>)
    if (are_lines(over, out, a, b))
      return launch_early(line_kernel<op>, blocks_for(over.elements / 4), kThreads, 0, over.elements,
                          static_cast<float*>(out.data), static_cast<const float*>(a.data),
                          static_cast<const float*>(b.data));
  launch_early(binary_kernel<op, T>, blocks, kThreads, 0, over, out, a, b);
}

template <Op op>
void binary(const KernelArgs& args) {
  if (is_float(args.out.dtype())) return run_binary<op, float>(args);
  if constexpr (takes_integers<op>)
    run_binary<op, int64_t>(args);
  else
    TL_CHECK(false, "an operation on real numbers with an integer result");
}

template <Op op>
void compare(const KernelArgs& args) {
  as_number(promote(args.in[0].dtype(), args.in[1].dtype()), [&]<class T>(T) { run_binary<op, T>(args); });
}

template <class T>
RowOperation row_lines(const LaunchList& list, const LaunchList::Launch& launch) {
  const Arguments a(list, launch);
  return T{a.get<int64_t>(0), a.get<float*>(1), a.get<const float*>(2), a.get<const float*>(3)};
}

}  // namespace

void tell_binary(RowMeanings& meanings) {
  meanings[reinterpret_cast<const void*>(line_kernel<Op::add>)] = row_lines<RowSum>;
  meanings[reinterpret_cast<const void*>(line_kernel<Op::swiglu>)] = row_lines<RowGate>;
}

void add_binary(KernelTable& table) {
  const auto add = [&](Op op, void (*run)(const KernelArgs&)) {
    table[static_cast<size_t>(op)] = {run, DType::f32, false};
  };
#define X(name, ...) add(Op::name, binary<Op::name>);
  TL_BINARY_OPS(X)
  X(swiglu)
#undef X
#define X(name, ...) add(Op::name, compare<Op::name>);
  TL_COMPARE_OPS(X)
#undef X
}

}  // namespace tl::cuda

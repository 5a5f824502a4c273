#include "backend/cuda/joined_row.cuh"

#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/q8.cuh"

namespace tl::cuda {

namespace {

constexpr int kWarps = kThreads / 32;

extern __shared__ __align__(16) unsigned char shared_row[];

/// Fields of blocks whose sizes the format says.
template <DType format>
struct Fields {
  const uint8_t* data[kMaxFields];

  __device__ const uint8_t* field(int f, int64_t block) const {
    return data[f] + static_cast<int>(block) * bytes(f);
  }
  static constexpr int bytes(int f) { return quantised_format(format).fields[f].bytes; }
};

/// Quantised weights and rounded activations.
template <DType format>
struct Rounded {
  static constexpr bool kRounds = true;
  using Piece = ChunksOf<format>;
  using Row = Fields<format>;
  /// Half the pieces that a lane has under way at once.
  static constexpr int kAhead = Piece::kElements > 32 || format == DType::q8_0 ? 1 : 2;

  static __device__ int pieces(const JoinedRow& r) { return static_cast<int>(r.k) / Piece::kElements; }
  static __device__ Row row(const JoinedRow& r, const JoinedRow::Part& part, int64_t row) {
    const int64_t block = row * (r.k / Piece::kBlock);
    Row result{};
#pragma unroll
    for (int f = 0; f < quantised_format(format).n_fields; ++f)
      result.data[f] = part.w.data[f] + block * Row::bytes(f);
    return result;
  }
  static __device__ Piece load(const Row& row, int piece) { return Piece(row, piece); }
  static __device__ void multiply(const JoinedRow& r, int c, const Piece& piece, float& sum) {
    const auto k = static_cast<int>(r.k);
    const auto* quants = reinterpret_cast<const int4*>(shared_row);
    const auto* scales = reinterpret_cast<const float*>(shared_row + k);
    const auto* sums = reinterpret_cast<const int*>(shared_row + k + k / 8);
#pragma unroll
    for (int i = 0; i < Piece::kParts; ++i) {
      const int at = c / Piece::kPerBlock * Piece::kBlock + piece.place(i);
      sum += dot16(quants[at / 16], scales[at / 32], sums[at / 16], piece.part(i));
    }
  }
};

/// Plain weights and activations.
template <class T>
struct Plain {
  static constexpr bool kRounds = false;
  static constexpr int kAhead = 4;
  using Piece = uint4;
  using Row = const uint4*;

  static __device__ int pieces(const JoinedRow& r) { return static_cast<int>(r.k) / kPacked<T>; }
  static __device__ Row row(const JoinedRow&, const JoinedRow::Part& part, int64_t row) {
    return reinterpret_cast<Row>(reinterpret_cast<const T*>(part.w.data[0]) + row * part.stride);
  }
  static __device__ Piece load(Row row, int piece) { return row[piece]; }
  static __device__ void multiply(const JoinedRow&, int c, const Piece& piece, float& sum) {
    add_packed<T>(sum, piece, reinterpret_cast<const float*>(shared_row) + c * kPacked<T>);
  }
};

/// Calls body with part `index`: parts are looked at by constant numbers, which is what parameters are fast
/// at.
template <class Body>
__device__ void with_part(const JoinedRow& r, int index, Body body) {
#pragma unroll
  for (int p = 0; p < JoinedRow::kMostParts; ++p)
    if (p == index) body(r.parts[p]);
}

/// What a warp computes at a time: two rows of a part, the same row of gate and up, or one row.
struct Unit {
  int part = 0;
  int64_t row_a, row_b;
  int pair = -1;  ///< of the head, where the rows are rotated

  __device__ Unit(const JoinedRow& r, int64_t unit) : row_a(unit), row_b(unit) {
    if (r.gated) return;
#pragma unroll
    for (int p = 0; p + 1 < JoinedRow::kMostParts; ++p)
      if (part == p && p + 1 < r.n_parts && unit >= r.parts[p].units) unit -= r.parts[p].units, ++part;
    with_part(r, part, [&](const JoinedRow::Part& p) { find_rows(r, p, unit); });
  }

 private:
  __device__ void find_rows(const JoinedRow& r, const JoinedRow::Part& p, int64_t unit) {
    row_a = row_b = unit;
    if (r.single) return;
    row_a = 2 * unit, row_b = min(2 * unit + 1, p.n - 1);
    if (!p.rotated) return;
    const auto half_head = static_cast<int>(p.rope.head_dim / 2), head = static_cast<int>(unit) / half_head;
    const int of_head = static_cast<int>(unit) % half_head;
    if (of_head >= p.rope.half) return;  // dimensions that are not rotated
    pair = of_head;
    row_a = head * p.rope.head_dim + p.rope.left(pair);
    row_b = head * p.rope.head_dim + p.rope.right(pair);
  }
};

__device__ Turn turn_of(const JoinedRow& r, const Unit& unit) {
  Turn turn;
  if (unit.pair >= 0)
    with_part(r, unit.part, [&](const JoinedRow::Part& p) { turn = Turn(p.rope, *p.rope.first, unit.pair); });
  return turn;
}

/// The rows of a unit, and pieces of them that are on their way from memory: as many of each of two rows, or
/// twice as many of one.
template <class Weights>
struct Stage {
  static constexpr int kAhead = Weights::kAhead;
  typename Weights::Piece a[kAhead], b[kAhead];

  __device__ Stage(const typename Weights::Row& row_a, const typename Weights::Row& row_b, int first,
                   int second, int pieces)
      : Stage(row_a, row_b, first, second, pieces - 1, std::make_index_sequence<kAhead>()) {}

 private:
  template <size_t... i>
  __device__ Stage(const typename Weights::Row& row_a, const typename Weights::Row& row_b, int first,
                   int second, int last, std::index_sequence<i...>)
      : a{Weights::load(row_a, min(first + 32 * static_cast<int>(i), last))...},
        b{Weights::load(row_b, min(second + 32 * static_cast<int>(i), last))...} {}
};

/// Four elements of the row in 8 bits, in each lane of a warp; eight lanes share a scale.
struct RoundedFour {
  unsigned quants;
  int sum;  ///< of sixteen
  float scale;

  __device__ explicit RoundedFour(const float4& x) {
    float most = fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
    bool finite = isfinite(x.x) && isfinite(x.y) && isfinite(x.z) && isfinite(x.w);
    for (int distance = 4; distance > 0; distance /= 2)
      most = fmaxf(most, __shfl_xor_sync(~0u, most, distance));
    const unsigned group = 0xffu << (threadIdx.x % 32 / 8 * 8);
    finite = (__ballot_sync(~0u, finite) & group) == group;
    const float step = most / 127.0f;
    const auto quant = [&](float value) {
      return finite && step > 0 ? static_cast<unsigned>(static_cast<int>(rintf(value / step))) & 0xffu : 0u;
    };
    quants = quant(x.x) | quant(x.y) << 8 | quant(x.z) << 16 | quant(x.w) << 24;
    sum = __dp4a(static_cast<int>(quants), 0x01010101, 0);
    for (int distance = 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    scale = finite ? step : NAN;
  }
};

/// The row, normalised and rounded as asked, to shared memory: four elements a thread at a time.
template <bool rounds>
__device__ void prepare(const JoinedRow& r) {
  const float factor = r.normed ? rms_factor(r.x, r.k, r.eps) : 1.0f;
  const int k = static_cast<int>(r.k), fours = k / 4;
  const bool writes = blockIdx.x == 0;
#pragma unroll 2
  for (int first = static_cast<int>(threadIdx.x) / 32 * 32; first < fours; first += kThreads) {
    const int i = first + static_cast<int>(threadIdx.x) % 32;  // lanes past the end keep the others company
    const bool there = i < fours;
    float4 x = there ? load4(r.x + 4 * i) : float4{};
    if (r.normed) {
      x.x *= factor, x.y *= factor, x.z *= factor, x.w *= factor;
      if (r.norm_weight != nullptr && there) {
        const float4 w = load4(r.norm_weight + 4 * i);
        x.x *= w.x, x.y *= w.y, x.z *= w.z, x.w *= w.w;
      }
      if (writes && there && r.normed_out != nullptr) reinterpret_cast<float4*>(r.normed_out)[i] = x;
    }
    if constexpr (rounds) {
      const RoundedFour q(x);
      if (!there) continue;
      reinterpret_cast<unsigned*>(shared_row)[i] = q.quants;
      if (i % 8 == 0) reinterpret_cast<float*>(shared_row + k)[i / 8] = q.scale;
      if (i % 4 == 0) reinterpret_cast<int*>(shared_row + k + k / 8)[i / 4] = q.sum;
      if (!writes) continue;
      reinterpret_cast<unsigned*>(r.quants)[i] = q.quants;
      if (i % 8 == 0) r.scales[i / 8] = q.scale;
      if (i % 4 == 0) r.sums[i / 4] = q.sum;
    } else if (there) {
      reinterpret_cast<float4*>(shared_row)[i] = x;
    }
  }
  __syncthreads();
}

__device__ void put(float* out, int64_t i, float value) {
  if (out != nullptr) out[i] = value;
}

/// The product with the bias, written down where somebody reads it.
__device__ float result_of(const JoinedRow::Part& part, int64_t row, float sum) {
  if (part.bias != nullptr) sum += part.bias[row];
  put(part.out, row, sum);
  return sum;
}

/// What becomes of the sums of two rows of a part.
__device__ void finish_part(const JoinedRow& r, const JoinedRow::Part& part, const Unit& unit,
                            const Turn& turn, float a, float b) {
  const bool both = unit.row_a != unit.row_b;
  a = result_of(part, unit.row_a, a);
  if (both) b = result_of(part, unit.row_b, b);
  if (r.addend != nullptr) {
    r.sum_out[unit.row_a] = r.addend[unit.row_a] + a;
    if (both) r.sum_out[unit.row_b] = r.addend[unit.row_b] + b;
    return;
  }
  if (unit.pair >= 0) {
    const float left = turn.left(a, b);
    b = turn.right(a, b);
    a = left;
  }
  if (part.rotated) {
    put(part.rotated_out, unit.row_a, a);
    put(part.rotated_out, unit.row_b, b);
  }
  if (part.appended) {
    const int64_t at = *part.row * part.row_stride;
    part.cache.set(at + unit.row_a, a);
    if (both) part.cache.set(at + unit.row_b, b);
  }
}

__device__ void finish(const JoinedRow& r, const Unit& unit, const Turn& turn, float a, float b) {
  if (r.gated) {
    a = result_of(r.parts[0], unit.row_a, a);
    b = result_of(r.parts[1], unit.row_a, b);
    r.gated_out[unit.row_a] = plain(Functor<Op::swiglu>::apply(Real32(a), Real32(b)));
    return;
  }
  with_part(r, unit.part, [&](const JoinedRow::Part& p) { finish_part(r, p, unit, turn, a, b); });
}

template <class Weights>
__global__ void __launch_bounds__(kThreads) joined_row_kernel(const __grid_constant__ JoinedRow r) {
  constexpr int kAhead = Weights::kAhead;
  __shared__ Turn first_turns[kWarps];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int pieces = Weights::pieces(r), step = r.single ? 64 * kAhead : 32 * kAhead;
  const int second = r.single ? 32 * kAhead : 0;  // where b's pieces are, from a's
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kWarps;
  int64_t at = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  int piece = lane;
  typename Weights::Row row_a{}, row_b{};
  const auto find_rows = [&](const Unit& unit) {
    if (r.gated) {
      row_a = Weights::row(r, r.parts[0], unit.row_a);
      row_b = Weights::row(r, r.parts[1], unit.row_a);
    } else {
      with_part(r, unit.part, [&](const JoinedRow::Part& p) {
        row_a = Weights::row(r, p, unit.row_a);
        row_b = Weights::row(r, p, unit.row_b);
      });
    }
  };
  // What nobody writes to is fetched before the kernels that compute x have ended.
  Unit unit(r, min(at, r.units - 1));
  find_rows(unit);
  Stage<Weights> stage(row_a, row_b, piece, piece + second, pieces);
  if (r.normed && r.norm_weight != nullptr)
    for (int64_t i = 32 * threadIdx.x; i < r.k; i += 32 * kThreads)
      asm volatile("prefetch.global.L2 [%0];" ::"l"(r.norm_weight + i));
  let_next_begin();
  if (const int64_t mine = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x;
      threadIdx.x < kWarps && mine < r.units)
    first_turns[threadIdx.x] = turn_of(r, Unit(r, mine));
  await_predecessors();
  prepare<Weights::kRounds>(r);
  if (at >= r.units) return;
  Turn turn = first_turns[warp];
  float sum_a = 0, sum_b = 0;
  for (;;) {
    const int next_piece = piece + step;
    const bool ends = next_piece - lane >= pieces, goes_on = !ends || at + stride < r.units;
    const Unit next_unit = ends && goes_on ? Unit(r, at + stride) : unit;
    if (ends && goes_on) find_rows(next_unit);
    const int from = ends ? lane : next_piece;
    Stage<Weights> next = stage;
    if (goes_on) next = Stage<Weights>(row_a, row_b, from, from + second, pieces);
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (piece + 32 * i < pieces) Weights::multiply(r, piece + 32 * i, stage.a[i], sum_a);
    float sums_b = r.single ? sum_a : sum_b;
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (piece + second + 32 * i < pieces) Weights::multiply(r, piece + second + 32 * i, stage.b[i], sums_b);
    if (r.single)
      sum_a = sums_b;
    else
      sum_b = sums_b;
    if (ends) {
      sum_a = warp_sum(sum_a), sum_b = warp_sum(sum_b);
      if (lane == 0) finish(r, unit, turn, sum_a, sum_b);
      if (!goes_on) return;
      sum_a = sum_b = 0;
      at += stride;
      unit = next_unit;
      if (lane == 0) turn = turn_of(r, unit);
    }
    piece = from;
    stage = next;
  }
}

using Kernel = void (*)(JoinedRow);

/// The kernel for a type of weights, or null.
Kernel kernel_for(DType weights, bool rounded) {
  switch (weights) {
    case DType::f32:
      return rounded ? nullptr : joined_row_kernel<Plain<float>>;
    case DType::f16:
      return rounded ? nullptr : joined_row_kernel<Plain<__half>>;
    case DType::bf16:
      return rounded ? nullptr : joined_row_kernel<Plain<__nv_bfloat16>>;
#define TL_FORMAT(format) \
  case DType::format:     \
    return rounded ? joined_row_kernel<Rounded<DType::format>> : nullptr;
      TL_FORMAT(q4_0)
      TL_FORMAT(q4_1)
      TL_FORMAT(q5_0)
      TL_FORMAT(q5_1)
      TL_FORMAT(q8_0)
      TL_FORMAT(q2_k)
      TL_FORMAT(q3_k)
      TL_FORMAT(q4_k)
      TL_FORMAT(q5_k)
      TL_FORMAT(q6_k)
#undef TL_FORMAT
    default:
      return nullptr;
  }
}

/// What the row takes: floats, or quants, a scale for each 32 and a sum for each 16.
size_t shared_bytes(int64_t k, bool rounded) {
  const auto n = static_cast<size_t>(k);
  return rounded ? n + n / 8 + n / 4 : n * sizeof(float);
}

/// What a block may take, beside a little that has its place fixed.
size_t most_shared() { return Device::get().properties().sharedMemPerBlockOptin - 1024; }

}  // namespace

bool can_join(DType weights, bool rounded, int64_t k) {
  return kernel_for(weights, rounded) != nullptr && shared_bytes(k, rounded) <= most_shared();
}

void add_joined_row(LaunchList& list, JoinedRow row) {
  const bool rounded = row.quants != nullptr;
  const int64_t processors = Device::get().properties().multiProcessorCount;
  auto* const last = row.parts + row.n_parts;
  const bool any_turns =
      std::any_of(&row.parts[0], last, [](const JoinedRow::Part& p) { return bool(p.rotated); });
  // A row a warp where pairs would leave the GPU half empty.
  row.single = !row.gated && !any_turns && row.units < 3 * kWarps * processors / 2;
  if (row.single) {
    row.units = 0;
    for (auto* part = &row.parts[0]; part != last; ++part) row.units += part->units = part->n;
  }
  const Kernel kernel = kernel_for(row.parts[0].w.dtype, rounded);
  const size_t shared = shared_bytes(row.k, rounded);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(most_shared())),
        "asking for shared memory");
  int resident = 1;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, kThreads, shared),
        "asking what fits a multiprocessor");
  const int64_t room = std::max(resident, 1) * processors;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((row.units + kWarps - 1) / kWarps, room));
  list.add(Follows::overlaps, kernel, dim3(blocks), kThreads, shared, row);
}

}  // namespace tl::cuda

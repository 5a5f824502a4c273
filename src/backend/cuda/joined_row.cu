#include "backend/cuda/joined_row.cuh"

#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/q8.cuh"

namespace tl::cuda {

namespace {

constexpr int kMostThreads = 512;  ///< of a block; a small one has kThreads

extern __shared__ __align__(16) unsigned char shared_row[];

/// Of rounded activations: quants first, then the sum of each 16, then the scale of each 32.
__device__ int* shared_sums(int k) { return reinterpret_cast<int*>(shared_row + k); }
__device__ float* shared_scales(int k) { return reinterpret_cast<float*>(shared_row + k + k / 4); }

/// A piece of a row of weights and the sum that its product goes to.
template <class Piece>
struct Addend {
  const Piece& piece;
  float& sum;
};
template <class Piece>
Addend(const Piece&, float&) -> Addend<Piece>;

template <class First, class... Rest>
__device__ const First& first_of(const First& first, const Rest&...) {
  return first;
}

/// Quantised weights and rounded activations.
template <DType format>
struct Rounded {
  static constexpr bool kRounds = true;
  using Piece = ChunksOf<format>;
  using Row = Fields<format>;
  /// Half the pieces that a lane has under way at once.
  static constexpr int kAhead = Piece::kElements > 32 || format == DType::q8_0 ? 1 : 2;

  static __device__ int pieces(const JoinedRow& r) { return r.k / Piece::kElements; }
  static __device__ Row row(const JoinedRow& r, const JoinedRow::Part& part, int row) {
    return Row::from(part.data, static_cast<int64_t>(row) * (r.k / Piece::kBlock));
  }
  static __device__ Piece load(const Row& row, int piece) { return Piece(row, piece); }
  /// Adds the products of a piece of each of some rows with the same activations.
  template <class... Pieces>
  static __device__ void multiply(const JoinedRow& r, int c, Pieces... pieces) {
    const int k = r.k;
    const auto* quants = reinterpret_cast<const int4*>(shared_row);
    const int* sums = shared_sums(k);
    const float* scales = shared_scales(k);
    if constexpr (Piece::kBlock == 32) {
      const int4 q0 = quants[2 * c], q1 = quants[2 * c + 1];
      const float scale = scales[c];
      const int2 both = reinterpret_cast<const int2*>(sums)[c];
      ((pieces.sum += dot32(q0, q1, scale, both.x + both.y, pieces.piece.part(0), pieces.piece.part(1))),
       ...);
    } else {
#pragma unroll
      for (int i = 0; i < Piece::kParts; ++i) {
        const int at = c / Piece::kPerBlock * Piece::kBlock + first_of(pieces...).piece.place(i);
        const int4 q = quants[at / 16];
        const float scale = scales[at / 32];
        const int sum = sums[at / 16];
        ((pieces.sum += dot16(q, scale, sum, pieces.piece.part(i))), ...);
      }
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

  static __device__ int pieces(const JoinedRow& r) { return r.k / kPacked<T>; }
  static __device__ Row row(const JoinedRow&, const JoinedRow::Part& part, int row) {
    return reinterpret_cast<Row>(reinterpret_cast<const T*>(part.data[0]) + row * part.stride);
  }
  static __device__ Piece load(Row row, int piece) { return row[piece]; }
  template <class... Pieces>
  static __device__ void multiply(const JoinedRow&, int c, Pieces... pieces) {
    const float* x = reinterpret_cast<const float*>(shared_row) + c * kPacked<T>;
    (add_packed<T>(pieces.sum, pieces.piece, x), ...);
  }
};

/// Calls body(number) with `index` as a constant, which is what parameters are fast at.
template <class Body>
__device__ void with_part(int index, Body body) {
  static_assert(JoinedRow::kMostParts == 3);
  if (index == 0)
    body(std::integral_constant<int, 0>());
  else if (index == 1)
    body(std::integral_constant<int, 1>());
  else
    body(std::integral_constant<int, 2>());
}

/// What a warp computes at a time: two rows of a part, the same row of gate and up, or one row.
struct Unit {
  int part = 0;
  int row_a, row_b;
  int pair = -1;  ///< of the head, where the rows are rotated

  __device__ Unit(const JoinedRow& r, int unit) : row_a(unit), row_b(unit) {
    if (r.gated) return;
    if (r.n_parts > 1 && unit >= r.parts[0].units) {
      unit -= r.parts[0].units, ++part;
      if (r.n_parts > 2 && unit >= r.parts[1].units) unit -= r.parts[1].units, ++part;
    }
    row_a = row_b = unit;
    if (r.single) return;
    with_part(part, [&](auto p) {
      row_a = 2 * unit, row_b = min(2 * unit + 1, r.parts[p].n - 1);
      if (r.places[p].position != nullptr) find_pair(r.rope, unit);
    });
  }

 private:
  __device__ void find_pair(const Rope& rope, int unit) {
    const int head_dim = static_cast<int>(rope.head_dim), head = unit / (head_dim / 2);
    const int of_head = unit % (head_dim / 2);
    if (of_head >= rope.half) return;  // dimensions that are not rotated
    pair = of_head;
    row_a = head * head_dim + static_cast<int>(rope.left(pair));
    row_b = head * head_dim + static_cast<int>(rope.right(pair));
  }
};

__device__ Turn turn_of(const JoinedRow& r, const Unit& unit) {
  Turn turn;
  if (unit.pair >= 0)
    with_part(unit.part, [&](auto p) { turn = Turn(r.rope, *r.places[p].position, unit.pair); });
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
    const Rounding rounding(most, finite);
    const auto quant = [&](float value) { return static_cast<unsigned>(rounding.quant(value)) & 0xffu; };
    quants = quant(x.x) | quant(x.y) << 8 | quant(x.z) << 16 | quant(x.w) << 24;
    sum = __dp4a(static_cast<int>(quants), 0x01010101, 0);
    for (int distance = 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    scale = rounding.scale;
  }
};

/// Elements 4i … 4i + 3 to shared memory, and where others read them.
__device__ void put_rounded(const JoinedRow& r, const RoundedFour& q, int i, bool there, bool writes) {
  if (!there) return;
  reinterpret_cast<unsigned*>(shared_row)[i] = q.quants;
  if (i % 8 == 0) shared_scales(r.k)[i / 8] = q.scale;
  if (i % 4 == 0) shared_sums(r.k)[i / 4] = q.sum;
  if (!writes) return;
  reinterpret_cast<unsigned*>(r.quants)[i] = q.quants;
  if (i % 8 == 0) r.scales[i / 8] = q.scale;
  if (i % 4 == 0) r.sums[i / 4] = q.sum;
}

/// The row, normalised and rounded as asked, to shared memory: four elements a thread at a time.
template <bool rounds>
__device__ void prepare(const JoinedRow& r) {
  const float factor = r.normed ? rms_factor(r.x, r.k, r.eps) : 1.0f;
  const int fours = r.k / 4;
  const bool writes = blockIdx.x == 0;
  const int lane = static_cast<int>(threadIdx.x) % 32, first = static_cast<int>(threadIdx.x) - lane,
            threads = static_cast<int>(blockDim.x);
  constexpr int kBatch = 3;  // loads under way at once
  for (int begin = first; begin < fours; begin += kBatch * threads) {
    float4 batch[kBatch], weights[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int i = begin + b * threads + lane;
      batch[b] = i < fours ? load4(r.x + 4 * i) : float4{};
      if (r.normed && r.norm_weight != nullptr)
        weights[b] = i < fours ? load4(r.norm_weight + 4 * i) : float4{};
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (begin + b * threads >= fours) break;
      const int i = begin + b * threads + lane;  // lanes past the end keep the others company
      const bool there = i < fours;
      float4 x = batch[b];
      if (r.normed) {
        x.x *= factor, x.y *= factor, x.z *= factor, x.w *= factor;
        if (r.norm_weight != nullptr) {
          const float4 w = weights[b];
          x.x *= w.x, x.y *= w.y, x.z *= w.z, x.w *= w.w;
        }
        if (writes && there && r.normed_out != nullptr) reinterpret_cast<float4*>(r.normed_out)[i] = x;
      }
      if constexpr (rounds)
        put_rounded(r, RoundedFour(x), i, there, writes);
      else if (there)
        reinterpret_cast<float4*>(shared_row)[i] = x;
    }
  }
  __syncthreads();
}

__device__ void put(float* out, int64_t i, float value) {
  if (out != nullptr) out[i] = value;
}

/// The product with the bias, written down where somebody reads it.
__device__ float result_of(const JoinedRow::Part& part, int row, float sum) {
  if (part.bias != nullptr) sum += part.bias[row];
  put(part.out, row, sum);
  return sum;
}

/// What becomes of the sums of two rows of a part.
__device__ void finish_part(const JoinedRow& r, const JoinedRow::Part& part, const JoinedRow::Place& place,
                            const Unit& unit, const Turn& turn, float a, float b) {
  const bool both = unit.row_a != unit.row_b;
  a = result_of(part, unit.row_a, a);
  if (both) b = result_of(part, unit.row_b, b);
  if (r.addend != nullptr) {
    r.result[unit.row_a] = r.addend[unit.row_a] + a;
    if (both) r.result[unit.row_b] = r.addend[unit.row_b] + b;
    return;
  }
  if (unit.pair >= 0) {
    const float left = turn.left(a, b);
    b = turn.right(a, b);
    a = left;
  }
  if (place.position != nullptr) {
    put(place.rotated_out, unit.row_a, a);
    put(place.rotated_out, unit.row_b, b);
  }
  if (place.row != nullptr) {
    const int64_t at = *place.row * place.row_stride;
    place.cache.set(at + unit.row_a, a);
    if (both) place.cache.set(at + unit.row_b, b);
  }
}

__device__ void finish(const JoinedRow& r, const Unit& unit, const Turn& turn, float a, float b) {
  if (r.gated) {
    a = result_of(r.parts[0], unit.row_a, a);
    b = result_of(r.parts[1], unit.row_a, b);
    r.result[unit.row_a] = plain(Functor<Op::swiglu>::apply(Real32(a), Real32(b)));
    return;
  }
  with_part(unit.part, [&](auto p) { finish_part(r, r.parts[p], r.places[p], unit, turn, a, b); });
}

template <class Weights>
__global__ void __launch_bounds__(kMostThreads, 1) joined_row_kernel(const __grid_constant__ JoinedRow r) {
  constexpr int kAhead = Weights::kAhead;
  __shared__ Turn first_turns[kMostThreads / 32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int pieces = Weights::pieces(r), step = r.single ? 64 * kAhead : 32 * kAhead;
  const int second = r.single ? 32 * kAhead : 0;  // where b's pieces are, from a's
  const int warps = static_cast<int>(blockDim.x) / 32, first_unit = static_cast<int>(blockIdx.x) * warps,
            stride = static_cast<int>(gridDim.x) * warps;
  int at = first_unit + warp, piece = lane;
  typename Weights::Row row_a{}, row_b{};
  const auto find_rows = [&](const Unit& unit) {
    if (r.gated) {
      row_a = Weights::row(r, r.parts[0], unit.row_a);
      row_b = Weights::row(r, r.parts[1], unit.row_a);
    } else {
      with_part(unit.part, [&](auto p) {
        row_a = Weights::row(r, r.parts[p], unit.row_a);
        row_b = Weights::row(r, r.parts[p], unit.row_b);
      });
    }
  };
  // What nobody writes to is fetched before the kernels that compute x have ended.
  Unit unit(r, min(at, r.units - 1));
  find_rows(unit);
  Stage<Weights> stage(row_a, row_b, piece, piece + second, pieces);
  let_next_begin();
  if (r.normed && r.norm_weight != nullptr)
    for (int i = 32 * static_cast<int>(threadIdx.x); i < r.k; i += 32 * static_cast<int>(blockDim.x))
      asm volatile("prefetch.global.L2 [%0];" ::"l"(r.norm_weight + i));
  if (const int mine = first_unit + static_cast<int>(threadIdx.x);
      static_cast<int>(threadIdx.x) < warps && mine < r.units)
    first_turns[threadIdx.x] = turn_of(r, Unit(r, mine));
  await_predecessors();
  prepare<Weights::kRounds>(r);
  if (at >= r.units) return;
  Turn turn = first_turns[warp];
  float sum_a = 0, sum_b = 0;
  for (;;) {
    if (r.single) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
        if (piece + 32 * i < pieces) Weights::multiply(r, piece + 32 * i, Addend(stage.a[i], sum_a));
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
        if (piece + second + 32 * i < pieces)
          Weights::multiply(r, piece + second + 32 * i, Addend(stage.b[i], sum_a));
    } else {
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
        if (piece + 32 * i < pieces)
          Weights::multiply(r, piece + 32 * i, Addend(stage.a[i], sum_a), Addend(stage.b[i], sum_b));
    }
    piece += step;
    if (piece - lane >= pieces) {
      const float a = warp_sum(sum_a), b = warp_sum(sum_b);
      const Unit done = unit;
      const Turn done_turn = turn;
      at += stride;
      const bool goes_on = at < r.units;
      if (goes_on) {
        unit = Unit(r, at);
        find_rows(unit);
        piece = lane, sum_a = sum_b = 0;
        stage = Stage<Weights>(row_a, row_b, piece, piece + second, pieces);
      }
      if (lane == 0) finish(r, done, done_turn, a, b);
      if (!goes_on) return;
      if (lane == 0) turn = turn_of(r, unit);
    } else {
      stage = Stage<Weights>(row_a, row_b, piece, piece + second, pieces);
    }
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

/// What the row takes.
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
  const bool any_turns = std::any_of(row.places, row.places + row.n_parts,
                                     [](const JoinedRow::Place& p) { return p.position != nullptr; });
  // A row a warp where pairs would leave the GPU half empty.
  row.single = !row.gated && !any_turns && row.units < 12 * processors;
  if (row.single) {
    row.units = 0;
    for (auto* part = &row.parts[0]; part != last; ++part) row.units += part->units = part->n;
  }
  const Kernel kernel = kernel_for(row.weights, rounded);
  const size_t shared = shared_bytes(row.k, rounded);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(most_shared())),
        "asking for shared memory");
  // Large blocks prepare the row less often, small ones spread few units over more multiprocessors.
  const unsigned threads = row.units >= kMostThreads / 32 * processors * 3 / 4 ? kMostThreads : kThreads;
  const int64_t warps = threads / 32, room = 2 * kThreads / threads * processors;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((row.units + warps - 1) / warps, room));
  list.add(Follows::overlaps, kernel, dim3(blocks), threads, shared, row);
}

}  // namespace tl::cuda

#include "backend/cuda/joined_row.cuh"

#include "backend/cuda/elementwise.cuh"
#include "backend/cuda/q8.cuh"
#include "backend/cuda/tensor_core.cuh"

namespace tl::cuda {

namespace {

/// Threads of a block, and blocks that a multiprocessor has registers for: while a launch computes, the
/// blocks of the next one wait beside it with their first weights at hand. One that took more could not begin
/// early.
constexpr int kBlockThreads = 512, kBeside = 2, kWarps = kBlockThreads / 32;

/// What is computed.
enum class Kind : uint8_t {
  sum,      ///< one product, and what it is added to
  row_sum,  ///< the same, a row of weights at a time
  parts,    ///< up to three products, rotated and appended
  gated,    ///< silu(part 0) * part 1
};

extern __shared__ __align__(16) unsigned char shared_row[];

/// What goes with 32 rounded activations: their scale, and the sums of all, the first and the last sixteen
/// quants.
struct BlockNumbers {
  float scale, sum, first, last;
};

/// A row in shared memory: of rounded activations the high parts of the first sixteen quants of each 32
/// (warps read them from consecutive places), then those of the others, then the low parts in the same way,
/// then the numbers of each 32. Its end is filled up with zeros, so that lanes need not ask whether there is
/// a piece for them.
struct SharedRow {
  /// What a row takes.
  static constexpr size_t row_bytes(int elements, bool rounded) {
    const auto n = static_cast<size_t>(elements);
    return rounded ? 2 * n + n / 32 * sizeof(BlockNumbers) : n * sizeof(float);
  }

  int elements;  ///< with the zeros at the end

  __device__ int4* quants() const { return reinterpret_cast<int4*>(shared_row); }
  __device__ Sixteen quants(int sixteen) const {
    const int4* high = quants() + sixteen % 2 * (elements / 32) + sixteen / 2;
    return {high[0], high[elements / 16]};
  }
  __device__ BlockNumbers* numbers() const {
    return reinterpret_cast<BlockNumbers*>(shared_row + 2 * elements);
  }
  __device__ BlockNumbers numbers(int block) const {
    const float4 all = reinterpret_cast<const float4*>(numbers())[block];
    return {all.x, all.y, all.z, all.w};
  }
  __device__ float* floats() const { return reinterpret_cast<float*>(shared_row); }
  /// Behind all that, where the row is normalised.
  __device__ float4* norm_weights(bool rounded) const {
    return reinterpret_cast<float4*>(shared_row + row_bytes(elements, rounded));
  }
};

// ---- Weights

/// Quantised weights and rounded activations.
template <DType format>
struct Rounded {
  static constexpr bool kRounds = true;
  static constexpr bool kNeedsSums =
      format != DType::q8_0;  ///< of quants: others' weights have a least value
  using Piece = ChunksOf<format>;
  using Row = Fields<format, true>;
  static constexpr int kElements = Piece::kElements;
  /// Pieces of a row that a lane takes at once.
  static constexpr int kAhead = kElements > 32 || Piece::kBlock > 32 || format == DType::q8_0 ? 1 : 2;
  /// Whether products that are added to something go row by row: they have few rows, which keep twice as many
  /// warps busy then. Where a lane takes more at once, a row of 2,048 elements would leave half of them idle.
  static constexpr bool kByRow = kAhead == 1 && kElements == 32;

  static __device__ Row row(const JoinedRow& r, const JoinedRow::Part& part, int row) {
    return Row::from(part.data, static_cast<int64_t>(row) * (r.k / Piece::kBlock));
  }
  static __device__ Piece load(const Row& row, int piece) { return Piece(row, piece); }
  /// Adds the products of piece `c` of a row.
  static __device__ void add(const SharedRow& x, int c, const Piece& piece, float& sum) {
    if constexpr (Piece::kBlock == 32) {
      const BlockNumbers numbers = x.numbers(c);
      sum += dot32(x.quants(2 * c), x.quants(2 * c + 1), numbers.scale, numbers.sum, piece);
    } else {
#pragma unroll
      for (int i = 0; i < Piece::kParts; ++i) {
        const int sixteen = element_of<Piece>(c, i) / 16;
        const BlockNumbers numbers = x.numbers(sixteen / 2);
        sum += dot16(x.quants(sixteen), numbers.scale, sixteen % 2 == 0 ? numbers.first : numbers.last,
                     piece.part(i));
      }
    }
  }
  /// The same of two rows with the same activations.
  static __device__ void multiply(const SharedRow& x, int c, const Piece& a, const Piece& b, float& sum_a,
                                  float& sum_b) {
    if constexpr (Piece::kBlock == 32) {
      const Sixteen q0 = x.quants(2 * c), q1 = x.quants(2 * c + 1);
      const BlockNumbers numbers = x.numbers(c);
      sum_a += dot32(q0, q1, numbers.scale, numbers.sum, a);
      sum_b += dot32(q0, q1, numbers.scale, numbers.sum, b);
    } else {
#pragma unroll
      for (int i = 0; i < Piece::kParts; ++i) {
        const int sixteen = element_of<Piece>(c, i) / 16;
        const Sixteen q = x.quants(sixteen);
        const BlockNumbers numbers = x.numbers(sixteen / 2);
        const float sum = sixteen % 2 == 0 ? numbers.first : numbers.last;
        sum_a += dot16(q, numbers.scale, sum, a.part(i));
        sum_b += dot16(q, numbers.scale, sum, b.part(i));
      }
    }
  }
};

/// Plain weights and activations.
template <class T>
struct Plain {
  static constexpr bool kRounds = false, kNeedsSums = false;
  static constexpr int kAhead = 4, kElements = kPacked<T>;
  static constexpr bool kByRow = false;
  using Piece = uint4;
  using Row = const uint4*;

  static __device__ Row row(const JoinedRow&, const JoinedRow::Part& part, int row) {
    return reinterpret_cast<Row>(reinterpret_cast<const T*>(part.data[0]) + row * part.stride);
  }
  static __device__ Piece load(Row row, int piece) { return __ldcs(row + piece); }
  static __device__ void multiply(const SharedRow& row, int c, const Piece& a, const Piece& b, float& sum_a,
                                  float& sum_b) {
    const float* x = row.floats() + c * kElements;
    add_packed<T>(sum_a, a, x);
    add_packed<T>(sum_b, b, x);
  }
};

/// Elements of one row that a warp takes at once, at most.
template <class Weights>
constexpr int kStep = (Weights::kByRow ? 2 : 1) * 32 * Weights::kAhead* Weights::kElements;

/// Pieces of two rows that are on their way from memory, or twice as many of one: those from `first_a` and
/// from `first_b` on.
template <class Weights>
struct Stage {
  typename Weights::Piece a[Weights::kAhead], b[Weights::kAhead];

  __device__ Stage(const typename Weights::Row& row_a, const typename Weights::Row& row_b, int first_a,
                   int first_b, int last)
      : Stage(row_a, row_b, first_a, first_b, last, std::make_index_sequence<Weights::kAhead>()) {}

 private:
  template <size_t... i>
  __device__ Stage(const typename Weights::Row& row_a, const typename Weights::Row& row_b, int first_a,
                   int first_b, int last, std::index_sequence<i...>)
      : a{Weights::load(row_a, min(first_a + 32 * static_cast<int>(i), last))...},
        b{Weights::load(row_b, min(first_b + 32 * static_cast<int>(i), last))...} {}
};

// ---- Units

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

/// What a warp computes at a time: one or two rows of a part, or the same row of gate and up. The second row
/// is the first where there is none.
template <Kind kind>
struct Unit {
  int part = 0;
  int row_a, row_b;
  int pair = -1;  ///< of the head, where the rows are rotated

  __device__ Unit(const JoinedRow& r, int unit) : row_a(unit), row_b(unit) {
    if constexpr (kind == Kind::gated || kind == Kind::row_sum) return;
    if (kind == Kind::parts && r.n_parts > 1 && unit >= r.parts[0].units) {
      unit -= r.parts[0].units, ++part;
      if (r.n_parts > 2 && unit >= r.parts[1].units) unit -= r.parts[1].units, ++part;
    }
    row_a = 2 * unit;
    if constexpr (kind == Kind::sum) row_b = min(row_a + 1, r.parts[0].n - 1);
    if constexpr (kind == Kind::parts)
      with_part(part, [&](auto p) {
        row_b = min(row_a + 1, r.parts[p].n - 1);
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

/// What results of parts go with, in shared memory.
struct Surroundings {
  const Turn* turns;           ///< of all pairs of a head, for each part
  const int64_t* appended_at;  ///< where a part's row of a cache begins
};

/// Numbers are read before the launch waits: nobody writes them while a step is under way.
__device__ void find_places(const JoinedRow& r, int64_t* appended_at) {
  if (threadIdx.x < JoinedRow::kMostParts)
    with_part(static_cast<int>(threadIdx.x), [&](auto p) {
      if (p < r.n_parts && r.places[p].row != nullptr)
        appended_at[p] = *r.places[p].row * r.places[p].row_stride;
    });
}

/// The rotations of all pairs of a head, for each part.
__device__ void find_turns(const JoinedRow& r, Turn* turns) {
  const int pairs = static_cast<int>(r.rope.half);
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < r.n_parts * pairs; i += kBlockThreads) {
    const int part = i / pairs;
    const Number position = part == 0   ? r.places[0].position
                            : part == 1 ? r.places[1].position
                                        : r.places[2].position;
    if (position != nullptr) turns[i] = Turn(r.rope, *position, i % pairs);
  }
}

// ---- The row

/// Four elements of the row, rounded, in each lane of a warp; eight lanes share a scale.
struct RoundedFour {
  unsigned high, low;
  int sum = 0, other = 0;  ///< of sixteen, and of the sixteen beside them; 0 where nobody wants them
  float scale;

  __device__ RoundedFour(const float4& x, bool summed) {
    // Magnitudes are compared as integers: NaN is above infinity, and that above all else.
    const auto magnitude = [](float value) { return __float_as_uint(value) & 0x7fffffffu; };
    unsigned most = max(max(magnitude(x.x), magnitude(x.y)), max(magnitude(x.z), magnitude(x.w)));
    for (int distance = 4; distance > 0; distance /= 2)
      most = max(most, __shfl_xor_sync(~0u, most, distance));
    const Rounding rounding(__uint_as_float(most), most < 0x7f800000u);
    const int q[4] = {rounding.quant(x.x), rounding.quant(x.y), rounding.quant(x.z), rounding.quant(x.w)};
    // The lowest byte of each number is its low part; the next one, where that is rounded, its high part.
    const auto packed = [&](int added, unsigned bytes) {
      return __byte_perm(__byte_perm(q[0] + added, q[1] + added, bytes),
                         __byte_perm(q[2] + added, q[3] + added, bytes), 0x5410);
    };
    low = packed(0, 0x40), high = packed(Rounding::kHalf, 0x51);
    scale = rounding.scale;
    if (!summed) return;
    sum = q[0] + q[1] + q[2] + q[3];
    for (int distance = 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    other = __shfl_xor_sync(~0u, sum, 4);
  }
};

/// Elements 4i … 4i + 3 to shared memory, and where others read them.
__device__ void put_rounded(const JoinedRow& r, const SharedRow& row, const RoundedFour& q, int i) {
  const int block = i / 8;
  if (i >= r.k / 4) return;
  unsigned* high =
      reinterpret_cast<unsigned*>(shared_row) + i / 4 % 2 * (row.elements / 8) + block * 4 + i % 4;
  high[0] = q.high;
  high[row.elements / 4] = q.low;
  if (i % 8 == 0)
    reinterpret_cast<float4*>(row.numbers())[block] = {
        q.scale, static_cast<float>(q.sum + q.other), static_cast<float>(q.sum), static_cast<float>(q.other)};
  if (blockIdx.x != 0) return;
  if (r.quants != nullptr) {
    reinterpret_cast<unsigned*>(r.quants)[i] = q.high;
    reinterpret_cast<unsigned*>(r.quants + r.k)[i] = q.low;
  }
  if (r.scales != nullptr && i % 8 == 0) r.scales[block] = q.scale;
  if (r.sums != nullptr && i % 4 == 0) r.sums[i / 4] = q.sum;
}

/// Four elements a thread of the row, some at once. Rows that are normalised are read twice where they are
/// longer: less code is worth more, since each launch has to fetch its own.
template <bool normed>
struct Fours {
  static constexpr int kBatch = normed ? 1 : 3;
  float4 x[kBatch];

  __device__ void load(const JoinedRow& r, int first) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int i = first + b * kBlockThreads;
      x[b] = i < r.k / 4 ? load4(r.x + 4 * i) : float4{};
    }
  }
};

/// The norm's weights, to where the thread that multiplies by them finds them.
__device__ void fetch_norm_weights(const JoinedRow& r, float4* to) {
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < r.k / 4; i += kBlockThreads)
    copy_async(to + i, r.norm_weight + 4 * i, true);
  commit_copies();
}

/// What the row is multiplied by to normalise it; `batch` holds its beginning.
__device__ float factor_of(const JoinedRow& r, Fours<true>& batch) {
  constexpr int kBatch = Fours<true>::kBatch;
  __shared__ float parts[kSquareParts];
  const int first = static_cast<int>(threadIdx.x), lane = first % 32, n_parts = (r.k + 127) / 128;
#pragma unroll 1
  for (int begin = first; begin - lane < r.k / 4; begin += kBatch * kBlockThreads) {
    if (begin != first) batch.load(r, begin);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int part = (begin + b * kBlockThreads) / 32;
      if (part >= n_parts) break;
      const float squares = warp_sum(squares_of(batch.x[b]));
      if (lane == 0) parts[part] = squares;
    }
  }
  if (r.k / 4 > kBatch * kBlockThreads) batch.load(r, first);
  __syncthreads();
  return rms_factor(parts, n_parts, r.share, r.eps);
}

/// The row, normalised and rounded as asked, to shared memory.
template <class Weights, bool normed>
__device__ void prepare(const JoinedRow& r, const SharedRow& row) {
  constexpr bool rounds = Weights::kRounds;
  const bool summed = Weights::kNeedsSums || (blockIdx.x == 0 && r.sums != nullptr);
  constexpr int kBatch = Fours<normed>::kBatch;
  const int fours = r.k / 4, first = static_cast<int>(threadIdx.x), lane = first % 32;
  Fours<normed> batch;
  batch.load(r, first);
  float factor = 1;
  if constexpr (normed) {
    factor = factor_of(r, batch);
    wait_for_copies<0>();
  }
#pragma unroll 1
  for (int begin = first; begin - lane < fours; begin += kBatch * kBlockThreads) {
    if (begin != first) batch.load(r, begin);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int i = begin + b * kBlockThreads;  // lanes past the end keep the others company
      if (i - lane >= fours) break;
      float4 x = batch.x[b];
      if constexpr (normed) {
        x.x *= factor, x.y *= factor, x.z *= factor, x.w *= factor;
        if (r.norm_weight != nullptr && i < fours) {
          const float4 w = row.norm_weights(rounds)[i];
          x.x *= w.x, x.y *= w.y, x.z *= w.z, x.w *= w.w;
        }
        if (r.normed_out != nullptr && blockIdx.x == 0 && i < fours)
          reinterpret_cast<float4*>(r.normed_out)[i] = x;
      }
      if constexpr (rounds)
        put_rounded(r, row, RoundedFour(x, summed), i);
      else if (i < fours)
        reinterpret_cast<float4*>(shared_row)[i] = x;
    }
  }
  __syncthreads();
}

/// Zeros behind the row.
template <bool rounds>
__device__ void fill_up(const JoinedRow& r, const SharedRow& row) {
  const int first = static_cast<int>(threadIdx.x);
  if constexpr (rounds) {
#pragma unroll 1
    for (int block = r.k / 32 + first; block < row.elements / 32; block += kBlockThreads) {
      for (int part = 0; part < 4; ++part) row.quants()[part * (row.elements / 32) + block] = int4{};
      reinterpret_cast<float4*>(row.numbers())[block] = float4{};
    }
  } else {
#pragma unroll 1
    for (int i = r.k / 4 + first; i < row.elements / 4; i += kBlockThreads)
      reinterpret_cast<float4*>(shared_row)[i] = float4{};
  }
}

// ---- What becomes of the sums

/// Of the rows of a unit.
struct Sums {
  float a = 0, b = 0;
};

__device__ void put(float* out, int64_t i, float value) {
  if (out != nullptr) out[i] = value;
}

/// The product with the bias, written down where somebody reads it.
__device__ float result_of(const JoinedRow::Part& part, int row, float sum) {
  if (part.bias != nullptr) sum += part.bias[row];
  put(part.out, row, sum);
  return sum;
}

/// Rotates the results of a part's unit, and appends them.
__device__ void place_results(const JoinedRow& r, const JoinedRow::Part& part, const JoinedRow::Place& place,
                              const Unit<Kind::parts>& unit, const Turn* turns, int64_t appended_at,
                              Sums sums) {
  const bool both = unit.row_a != unit.row_b;
  float a = result_of(part, unit.row_a, sums.a), b = sums.b;
  if (both) b = result_of(part, unit.row_b, b);
  if (unit.pair >= 0) {
    const Turn turn = turns[unit.pair];
    const float left = turn.left(a, b);
    b = turn.right(a, b);
    a = left;
  }
  if (place.position != nullptr) {
    put(place.rotated_out, unit.row_a, a);
    put(place.rotated_out, unit.row_b, b);
  }
  if (place.row != nullptr) {
    place.cache.set(appended_at + unit.row_a, a);
    if (both) place.cache.set(appended_at + unit.row_b, b);
  }
}

/// `added` is what lies at the unit's rows of r.addend.
template <Kind kind>
__device__ void finish(const JoinedRow& r, const Unit<kind>& unit, const Surroundings& around, Sums sums,
                       Sums added) {
  if constexpr (kind == Kind::gated) {
    const float a = result_of(r.parts[0], unit.row_a, sums.a), b = result_of(r.parts[1], unit.row_a, sums.b);
    r.result[unit.row_a] = plain(Functor<Op::swiglu>::apply(Real32(a), Real32(b)));
  } else if constexpr (kind == Kind::sum || kind == Kind::row_sum) {
    r.result[unit.row_a] = added.a + result_of(r.parts[0], unit.row_a, sums.a);
    if (unit.row_a != unit.row_b) r.result[unit.row_b] = added.b + result_of(r.parts[0], unit.row_b, sums.b);
  } else {
    with_part(unit.part, [&](auto p) {
      place_results(r, r.parts[p], r.places[p], unit, around.turns + p * static_cast<int>(r.rope.half),
                    around.appended_at[p], sums);
    });
  }
}

// ---- The kernel

/// Has the parameters at hand: the first to read one waits for memory.
__device__ void touch(const JoinedRow& r) {
  const auto* words = reinterpret_cast<const int*>(&r);
#pragma unroll
  for (size_t i = 0; i < sizeof r / sizeof(int); i += 16) asm volatile("" ::"r"(words[i]));
}

/// What a warp does: its units one after another.
template <class Weights, Kind kind>
class Worker {
 public:
  __device__ explicit Worker(const JoinedRow& row)
      : r(row),
        x{row.padded},
        lane(static_cast<int>(threadIdx.x % 32)),
        stride(static_cast<int>(gridDim.x) * kWarps),
        at(static_cast<int>(blockIdx.x + threadIdx.x / 32 * gridDim.x)),
        piece(lane),
        stage(next_stage()) {}

  /// To be called when what others compute is there.
  __device__ void work(const Surroundings& around) {
    while (at < r.units) {
      // Each lane finishes one unit of 32: what follows the sums takes longer than they do.
      const int mine = at + lane * stride;
      const Unit<kind> unit(r, min(mine, r.units - 1));
      Sums added;
      if constexpr (kind == Kind::sum || kind == Kind::row_sum)
        added = {r.addend[unit.row_a], r.addend[unit.row_b]};
      const Sums sums = sums_of_next();
      if (mine < r.units) finish<kind>(r, unit, around, sums, added);
    }
  }

 private:
  /// From one of the stage's rows to the next, where they are one.
  static constexpr int kHalf = 32 * Weights::kAhead, kPieces = kind == Kind::row_sum ? 2 * kHalf : kHalf;

  /// The sums of up to 32 units, one a lane.
  __device__ Sums sums_of_next() {
    Sums mine;
    float sum_a = 0, sum_b = 0;
#pragma unroll 1
    for (int done = 0; done < 32 && at < r.units;) {
      const int first = piece;
      piece += kPieces;
      const bool is_last = (piece - lane) * Weights::kElements >= r.k;
      if (is_last) at += stride, piece = lane;
      multiply(first, sum_a, sum_b);
      if (at < r.units) stage = next_stage();  // on its way while other warps multiply
      if (!is_last) continue;
      add_up(sum_a, sum_b);
      if (lane == done++) mine = {sum_a, sum_b};
      sum_a = sum_b = 0;
    }
    return mine;
  }

  __device__ void multiply(int first, float& sum_a, float& sum_b) const {
    if constexpr (kind == Kind::row_sum) {
#pragma unroll
      for (int i = 0; i < Weights::kAhead; ++i) Weights::add(x, first + 32 * i, stage.a[i], sum_a);
#pragma unroll
      for (int i = 0; i < Weights::kAhead; ++i) Weights::add(x, first + kHalf + 32 * i, stage.b[i], sum_a);
    } else {
#pragma unroll
      for (int i = 0; i < Weights::kAhead; ++i)
        Weights::multiply(x, first + 32 * i, stage.a[i], stage.b[i], sum_a, sum_b);
    }
  }

  __device__ Stage<Weights> next_stage() const {
    const Unit<kind> unit(r, min(at, r.units - 1));
    typename Weights::Row a{}, b{};
    if constexpr (kind == Kind::gated) {
      a = Weights::row(r, r.parts[0], unit.row_a);
      b = Weights::row(r, r.parts[1], unit.row_a);
    } else if constexpr (kind == Kind::sum || kind == Kind::row_sum) {
      a = Weights::row(r, r.parts[0], unit.row_a);
      b = Weights::row(r, r.parts[0], unit.row_b);
    } else {
      with_part(unit.part, [&](auto p) {
        a = Weights::row(r, r.parts[p], unit.row_a);
        b = Weights::row(r, r.parts[p], unit.row_b);
      });
    }
    return {a, b, piece, kind == Kind::row_sum ? piece + kHalf : piece, r.k / Weights::kElements - 1};
  }

  /// Both sums over the warp, each as warp_sum() adds: halves of the warp take one each.
  static __device__ void add_up(float& a, float& b) {
    if constexpr (kind == Kind::row_sum) return void(a = warp_sum(a));
    const bool upper = threadIdx.x % 32 >= 16;
    float mine = upper ? b : a;
    mine += __shfl_xor_sync(~0u, upper ? a : b, 16);
    for (int distance = 8; distance > 0; distance /= 2) mine += __shfl_xor_sync(~0u, mine, distance);
    a = __shfl_sync(~0u, mine, 0);
    b = __shfl_sync(~0u, mine, 16);
  }

  const JoinedRow& r;
  const SharedRow x;
  const int lane;
  const int stride;  ///< of units
  int at, piece;     ///< what is fetched next
  Stage<Weights> stage;
};

template <class Weights, Kind kind>
__global__ void __launch_bounds__(kBlockThreads, kBeside)
    joined_row_kernel(const __grid_constant__ JoinedRow r) {
  __shared__ Turn turns[kind == Kind::parts ? JoinedRow::kMostParts * JoinedRow::kMostPairs : 1];
  __shared__ int64_t appended_at[JoinedRow::kMostParts];
  // What nobody writes to is fetched before the kernels that compute x have ended.
  if (r.norm_weight != nullptr) fetch_norm_weights(r, SharedRow{r.padded}.norm_weights(Weights::kRounds));
  if (kind == Kind::parts) find_places(r, appended_at);
  if (kind == Kind::parts && r.turns) find_turns(r, turns);
  touch(r);
  fill_up<Weights::kRounds>(r, {r.padded});
  Worker<Weights, kind> worker(r);
  await_predecessors();
  let_next_begin();  // not before: what it does until it waits would slow down the kernels that this one
                     // awaits
  if (r.normed)
    prepare<Weights, true>(r, {r.padded});
  else
    prepare<Weights, false>(r, {r.padded});
  worker.work({turns, appended_at});
}

// ---- Launching

using Kernel = void (*)(JoinedRow);

struct Kernels {
  Kernel sum = nullptr, parts = nullptr, gated = nullptr;
  int step = 0;
  bool sums_by_row = false;
};

template <class Weights>
constexpr Kernels kernels_of() {
  return {joined_row_kernel < Weights,
          Weights::kByRow ? Kind::row_sum : Kind::sum >,
          joined_row_kernel<Weights, Kind::parts>,
          joined_row_kernel<Weights, Kind::gated>,
          kStep<Weights>,
          Weights::kByRow};
}

/// The kernels for a type of weights, if there are.
Kernels kernels_for(DType weights, bool rounded) {
  switch (weights) {
    case DType::f32:
      return rounded ? Kernels() : kernels_of<Plain<float>>();
    case DType::f16:
      return rounded ? Kernels() : kernels_of<Plain<__half>>();
    case DType::bf16:
      return rounded ? Kernels() : kernels_of<Plain<__nv_bfloat16>>();
#define TL_CASE(format) \
  case DType::format:   \
    return rounded ? kernels_of<Rounded<DType::format>>() : Kernels();
      TL_QUANTISED_FORMATS(TL_CASE)
#undef TL_CASE
    default:
      return {};
  }
}

int padded(int64_t k, const Kernels& kernels) {
  return static_cast<int>((k + kernels.step - 1) / kernels.step * kernels.step);
}

/// What a row takes, and the weights of its norm.
size_t shared_bytes(int elements, bool rounded, bool normed) {
  return SharedRow::row_bytes(elements, rounded) +
         (normed ? static_cast<size_t>(elements) * sizeof(float) : 0);
}

/// What a block of a product that is added to something asks for where launches overlap: more than half of
/// what a multiprocessor has, so that no two of them share one while another, which the launches before have
/// not left yet, gets none.
size_t alone_on_its_multiprocessor(size_t bytes) {
  constexpr size_t kFixed = 2048;
  return std::max(bytes, Device::get().properties().sharedMemPerMultiprocessor / 2 + kFixed);
}

/// Has shared memory and the L1 cache divided in the same way for all joined launches, which could not
/// overlap otherwise: room for a block that is alone and one of another launch, and the rest for the cache.
void divide_alike(const void* kernel) {
  constexpr int kPercentShared = 75;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, kPercentShared),
        "dividing shared memory");
}

/// What a block may take, beside a little that has its place fixed.
size_t most_shared() { return Device::get().properties().sharedMemPerBlockOptin - 6144; }

}  // namespace

bool can_join(DType weights, bool rounded, int64_t k) {
  const Kernels kernels = kernels_for(weights, rounded);
  return kernels.step > 0 && k <= 128 * kSquareParts &&
         shared_bytes(padded(k, kernels), rounded, true) <= most_shared();
}

void add_joined_row(LaunchList& list, JoinedRow row) {
  const bool rounded = is_quantised(row.weights);
  const int64_t processors = Device::get().properties().multiProcessorCount;
  row.turns = std::any_of(row.places, row.places + row.n_parts,
                          [](const JoinedRow::Place& p) { return p.position != nullptr; });
  const Kernels kernels = kernels_for(row.weights, rounded);
  if (row.addend != nullptr && kernels.sums_by_row) row.units = row.parts[0].n;
  const Kernel kernel = row.gated ? kernels.gated : row.addend != nullptr ? kernels.sum : kernels.parts;
  row.padded = padded(row.k, kernels);
  row.share = 1.0 / row.k;
  size_t shared = shared_bytes(row.padded, rounded, row.norm_weight != nullptr);
  if (launches_overlap()) {
    divide_alike(reinterpret_cast<const void*>(kernel));
    if (row.addend != nullptr) shared = alone_on_its_multiprocessor(shared);
  }
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(most_shared())),
        "asking for shared memory");
  const int64_t blocks = std::min<int64_t>(row.units, processors);
  list.add(Follows::overlaps, kernel, dim3(static_cast<unsigned>(blocks)), kBlockThreads, shared, row);
}

}  // namespace tl::cuda

// Launching kernels: they are noted down, and started together when somebody waits for a result. Launches
// that one kernel can do together are joined (row_fusion.h); a run of launches that comes again (each
// token's does) is replayed as one CUDA graph.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace tl::cuda {

/// A number that differs from step to step while everything else of a launch stays: kernels read it from
/// memory.
using Number = const int64_t*;

/// A small value that takes eight bytes, so that structures of it and pointers have no gaps: launches are
/// compared byte by byte.
template <class T>
class Wide {
 public:
  Wide() = default;
  Wide(T value) : value_(static_cast<int64_t>(value)) {}  // NOLINT: stands for the value
  __host__ __device__ operator T() const { return static_cast<T>(value_); }

 private:
  int64_t value_ = 0;
};

/// How a launch follows the one before it.
enum class Follows : uint8_t {
  plainly,   ///< starts when that has ended
  overlaps,  ///< may start early: the kernel waits before it reads what others write (await_predecessors())
};

/// Whether this GPU lets them, and the code for it: from compute capability 9.0 on.
bool launches_overlap();

/// Launches in order, with their arguments.
class LaunchList {
 public:
  struct Launch {
    const void* kernel;
    dim3 grid;
    unsigned threads;
    size_t shared, first_argument, end_argument;
    Follows follows;
  };

  /// Notes a launch of kernel(args...) down.
  template <class... Params, class... Args>
  void add(Follows follows, void (*kernel)(Params...), dim3 grid, unsigned threads, size_t shared,
           Args&&... args) {
    launches_.push_back({reinterpret_cast<const void*>(kernel), grid, threads, shared, places_.size(),
                         places_.size(), follows});
    (argument(static_cast<Params>(args)), ...);
  }
  /// Notes a launch of another list down.
  void add(const LaunchList& from, const Launch& launch);
  const std::vector<Launch>& launches() const { return launches_; }
  /// Where argument `i` of a launch lies.
  const void* argument_of(const Launch& launch, size_t i) const {
    return bytes_.data() + places_[launch.first_argument + i];
  }
  void drop_last();
  bool operator==(const LaunchList& other) const;
  void clear();
  /// Starts all of it, in order.
  void start(cudaStream_t stream) const;

 private:
  template <class T>
  void argument(const T& value) {
    std::memcpy(room(sizeof(T)), &value, sizeof(T));
  }
  unsigned char* room(size_t bytes);

  std::vector<Launch> launches_;
  std::vector<size_t> places_;  ///< of arguments in bytes_
  std::vector<size_t> sizes_;
  std::vector<unsigned char> bytes_;
};

/// Whether launches of a kernel begin joined ones (row_fusion.h): a good place to end a list.
bool begins_joined_row(const void* kernel);

/// Launches as one CUDA graph.
class Graph {
 public:
  Graph() = default;
  explicit Graph(const LaunchList& list);
  Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  ~Graph();
  explicit operator bool() const { return graph_ != nullptr; }
  void start(cudaStream_t stream) const;

 private:
  cudaGraphExec_t graph_ = nullptr;
};

/// What a number may be while the launch stays as it is.
struct NumberRange {
  int64_t most = std::numeric_limits<int64_t>::max();
  const void* source = nullptr;  ///< the host storage that holds it, if it stands in one
  bool operator==(const NumberRange&) const = default;
};

/// The launches that were asked for and not started yet.
class Launches {
 public:
  explicit Launches(cudaStream_t stream);
  ~Launches();

  template <class... Params, class... Args>
  void add(Follows follows, void (*kernel)(Params...), dim3 grid, unsigned threads, size_t shared,
           Args&&... args) {
    if (!recording_ && noted_.launches().size() >= enough_ &&
        begins_joined_row(reinterpret_cast<const void*>(kernel))) {
      start();  // the GPU works on these while the host notes the next ones down
      enough_ *= 2;
    }
    noted_.add(follows, kernel, grid, threads, shared, std::forward<Args>(args)...);
    if (noted_.launches().size() >= kMostLaunches) start();
    if (numbers_.size() >= kMostNumbers - 64) wait();
  }
  /// The argument of the last launch noted down, if that is one of kernel(argument); null if not.
  template <class Param>
  const Param* last_of(void (*kernel)(Param)) const {
    if (noted_.launches().empty() || noted_.launches().back().kernel != reinterpret_cast<const void*>(kernel))
      return nullptr;
    return static_cast<const Param*>(noted_.argument_of(noted_.launches().back(), 0));
  }
  /// Takes that launch back.
  void drop_last() { noted_.drop_last(); }
  /// A number for the next launch, and for no other; nothing may be copied between the two.
  Number number(int64_t value, NumberRange range = {});
  /// Starts what was noted down.
  void start();
  /// Starts it and waits for everything that was started.
  void wait();

  /// All launches of some time, with their numbers.
  struct Recording {
    LaunchList list;
    std::vector<std::pair<int64_t, NumberRange>> numbers;
  };
  /// Launches are held back from now on, as one list …
  void begin_recording();
  /// … until now, and are started; nothing if some had to be started before, or were under way.
  std::optional<Recording> end_recording();
  /// Whether everything was waited for that was asked for.
  bool is_idle() const { return noted_.launches().empty() && numbers_.empty(); }
  /// Starts a graph of launches whose numbers are these; to be called when idle.
  void run(const Graph& graph, const std::vector<int64_t>& numbers);
  /// Starts the graph once more behind what is under way, and gives what that leaves at `result` without
  /// waiting for more. Of the numbers those below 0 are that result, or 0 where it is not in [0, most].
  int64_t run_again(const Graph& graph, const std::vector<int64_t>& numbers, const int64_t* result,
                    int64_t most);

 private:
  struct Replay;
  static constexpr size_t kEnough = 64, kMostLaunches = 4096, kMostNumbers = 4096;

  void upload_numbers();
  void repeat(Replay& replay);

  cudaStream_t stream_;
  LaunchList noted_;
  std::vector<int64_t> numbers_;  ///< since everything was waited for last
  std::vector<NumberRange> ranges_;
  bool recording_ = false;
  size_t uploaded_ = 0;      ///< how many of them are on the device
  size_t enough_ = kEnough;  ///< launches that make a list: few where the GPU has nothing to do yet
  int64_t* device_numbers_ = nullptr;
  int64_t* pinned_numbers_ = nullptr;
  int64_t* pinned_turn_ = nullptr;  ///< numbers on their way to the device, and a result behind them
  cudaEvent_t turned_ = nullptr;    ///< it has seen them, and the result has come
  std::vector<std::unique_ptr<Replay>> replays_;  ///< the last used first
};

}  // namespace tl::cuda

#include "backend/cuda/launch.h"

#include <algorithm>

#include "backend/cuda/device.h"

namespace tl::cuda {

namespace {

constexpr size_t kMostReplays = 8;
constexpr size_t kWorthReplaying = 8;  ///< launches

}  // namespace

/// A run of launches as it was, and the graph that repeats it once it came twice.
struct Launches::Replay {
  std::vector<Launch> launches;
  std::vector<size_t> places;
  std::vector<unsigned char> bytes;
  cudaGraphExec_t graph = nullptr;

  Replay() = default;
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;
  ~Replay() {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
  }
};

Launches::Launches(cudaStream_t stream) : stream_(stream) {
  check(cudaMalloc(&device_numbers_, kMostNumbers * sizeof(int64_t)), "memory");
  check(cudaMallocHost(&pinned_numbers_, kMostNumbers * sizeof(int64_t)), "memory");
  check(cudaEventCreateWithFlags(&numbers_read_, cudaEventDisableTiming), "making an event");
}

Launches::~Launches() = default;

void Launches::begin(const void* kernel, dim3 grid, unsigned threads, size_t shared) {
  launches_.push_back({kernel, grid, threads, shared, places_.size(), places_.size()});
}

Number Launches::number(int64_t value) {
  numbers_.push_back(value);
  return device_numbers_ + numbers_.size() - 1;
}

bool Launches::same_as(const Replay& replay) const {
  if (replay.launches.size() != launches_.size() || replay.bytes != bytes_ || replay.places != places_)
    return false;
  return std::equal(
      launches_.begin(), launches_.end(), replay.launches.begin(), [](const Launch& a, const Launch& b) {
        return a.kernel == b.kernel && a.grid.x == b.grid.x && a.grid.y == b.grid.y && a.grid.z == b.grid.z &&
               a.threads == b.threads && a.shared == b.shared && a.end_argument == b.end_argument;
      });
}

void Launches::upload_numbers() {
  if (numbers_.empty()) return;
  check(cudaEventSynchronize(numbers_read_), "computing");
  std::copy(numbers_.begin(), numbers_.end(), pinned_numbers_);
  check(cudaMemcpyAsync(device_numbers_, pinned_numbers_, numbers_.size() * sizeof(int64_t),
                        cudaMemcpyHostToDevice, stream_),
        "copying to the device");
  check(cudaEventRecord(numbers_read_, stream_), "copying to the device");
}

void Launches::start_one_by_one() {
  std::vector<void*> arguments;
  for (const Launch& launch : launches_) {
    arguments.clear();
    for (size_t i = launch.first_argument; i < launch.end_argument; ++i)
      arguments.push_back(bytes_.data() + places_[i]);
    check(cudaLaunchKernel(launch.kernel, launch.grid, dim3(launch.threads), arguments.data(), launch.shared,
                           stream_),
          "starting a kernel");
  }
}

void Launches::start() {
  if (launches_.empty()) {
    numbers_.clear();
    return;
  }
  upload_numbers();
  const auto known =
      std::find_if(replays_.begin(), replays_.end(), [&](const auto& r) { return same_as(*r); });
  if (launches_.size() < kWorthReplaying) {
    start_one_by_one();
  } else if (known == replays_.end()) {
    start_one_by_one();
    if (replays_.size() == kMostReplays) replays_.pop_back();
    replays_.insert(replays_.begin(), std::make_unique<Replay>());
    Replay& replay = *replays_.front();
    replay.launches.swap(launches_);
    replay.places.swap(places_);
    replay.bytes.swap(bytes_);
  } else {
    std::rotate(replays_.begin(), known, known + 1);
    Replay& replay = *replays_.front();
    if (replay.graph == nullptr) {
      cudaGraph_t graph = nullptr;
      check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "noting a graph");
      start_one_by_one();
      check(cudaStreamEndCapture(stream_, &graph), "noting a graph");
      check(cudaGraphInstantiate(&replay.graph, graph, 0), "making a graph");
      check(cudaGraphDestroy(graph), "making a graph");
    }
    check(cudaGraphLaunch(replay.graph, stream_), "starting a graph");
  }
  launches_.clear();
  places_.clear();
  bytes_.clear();
  numbers_.clear();
}

}  // namespace tl::cuda

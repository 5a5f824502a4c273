#include "backend/cuda/launch.h"

#include <algorithm>

#include "backend/cuda/device.h"
#include "backend/cuda/row_fusion.h"

namespace tl::cuda {

namespace {

constexpr size_t kMostReplays = 64;
constexpr size_t kWorthReplaying = 8;  ///< launches

/// Between two runs of a graph: see Launches::run_again().
struct Turn {
  const int64_t *result, *from;
  int64_t *to, *delivered;
  int64_t n, most;
};

__global__ void turn_kernel(Turn t) {
  const int64_t result = *t.result;
  if (threadIdx.x == 0) *t.delivered = result;
  for (int64_t i = threadIdx.x; i < t.n; i += blockDim.x) {
    const int64_t number = t.from[i];
    t.to[i] = number >= 0 ? number : result >= 0 && result <= t.most ? result : 0;
  }
}

}  // namespace

bool launches_overlap() { return Device::get().code().version >= 90; }

// ---- A list

unsigned char* LaunchList::room(size_t bytes) {
  constexpr size_t kAlign = alignof(std::max_align_t);
  const size_t at = (bytes_.size() + kAlign - 1) / kAlign * kAlign;
  bytes_.resize(at + bytes);  // the gaps are zeros
  places_.push_back(at);
  sizes_.push_back(bytes);
  launches_.back().end_argument = places_.size();
  return bytes_.data() + at;
}

void LaunchList::add(const LaunchList& from, const Launch& launch) {
  launches_.push_back(launch);
  launches_.back().first_argument = launches_.back().end_argument = places_.size();
  for (size_t i = launch.first_argument; i < launch.end_argument; ++i)
    std::memcpy(room(from.sizes_[i]), from.bytes_.data() + from.places_[i], from.sizes_[i]);
}

void LaunchList::drop_last() {
  const size_t first = launches_.back().first_argument;
  if (first < places_.size()) bytes_.resize(places_[first]);
  places_.resize(first);
  sizes_.resize(first);
  launches_.pop_back();
}

bool LaunchList::operator==(const LaunchList& other) const {
  if (launches_.size() != other.launches_.size() || bytes_ != other.bytes_ || places_ != other.places_)
    return false;
  return std::equal(
      launches_.begin(), launches_.end(), other.launches_.begin(), [](const Launch& a, const Launch& b) {
        return a.kernel == b.kernel && a.grid.x == b.grid.x && a.grid.y == b.grid.y && a.grid.z == b.grid.z &&
               a.threads == b.threads && a.shared == b.shared && a.end_argument == b.end_argument;
      });
}

void LaunchList::clear() {
  launches_.clear();
  places_.clear();
  sizes_.clear();
  bytes_.clear();
}

void LaunchList::start(cudaStream_t stream) const {
  const bool can_overlap = launches_overlap();
  // What came before the list may have been written by kernels that overlap: its first launch waits.
  std::vector<void*> arguments;
  for (const Launch& launch : launches_) {
    arguments.clear();
    for (size_t i = launch.first_argument; i < launch.end_argument; ++i)
      arguments.push_back(const_cast<unsigned char*>(bytes_.data()) + places_[i]);
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = launch.grid;
    config.blockDim = dim3(launch.threads);
    config.dynamicSmemBytes = launch.shared;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = can_overlap && launch.follows == Follows::overlaps && &launch != &launches_.front();
    check(cudaLaunchKernelExC(&config, launch.kernel, arguments.data()), "starting a kernel");
  }
}

// ---- What was asked for

/// A run of launches as it was noted down, what is started for it, and the graph that repeats that once it
/// came twice.
struct Launches::Replay {
  LaunchList noted, joined;
  Graph graph;
};

Graph::Graph(const LaunchList& list) {
  const cudaStream_t stream = Device::get().stream();
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "noting a graph");
  list.start(stream);
  check(cudaStreamEndCapture(stream, &graph), "noting a graph");
  check(cudaGraphInstantiate(&graph_, graph, 0), "making a graph");
  check(cudaGraphDestroy(graph), "making a graph");
}

Graph::~Graph() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}

void Graph::start(cudaStream_t stream) const { check(cudaGraphLaunch(graph_, stream), "starting a graph"); }

Launches::Launches(cudaStream_t stream) : stream_(stream) {
  check(cudaMalloc(&device_numbers_, kMostNumbers * sizeof(int64_t)), "memory");
  check(cudaMallocHost(&pinned_numbers_, kMostNumbers * sizeof(int64_t)), "memory");
  check(cudaMallocHost(&pinned_turn_, (kMostNumbers + 1) * sizeof(int64_t)), "memory");
  check(cudaEventCreateWithFlags(&turned_, cudaEventDisableTiming), "making an event");
}

Launches::~Launches() = default;

Number Launches::number(int64_t value, NumberRange range) {
  numbers_.push_back(value);
  ranges_.push_back(range);
  return device_numbers_ + numbers_.size() - 1;
}

void Launches::upload_numbers() {
  const size_t n = numbers_.size() - uploaded_;
  if (n == 0) return;
  std::copy(numbers_.begin() + static_cast<std::ptrdiff_t>(uploaded_), numbers_.end(),
            pinned_numbers_ + uploaded_);
  check(cudaMemcpyAsync(device_numbers_ + uploaded_, pinned_numbers_ + uploaded_, n * sizeof(int64_t),
                        cudaMemcpyHostToDevice, stream_),
        "copying to the device");
  uploaded_ = numbers_.size();
}

void Launches::repeat(Replay& replay) {
  if (!replay.graph) replay.graph = Graph(replay.joined);
  replay.graph.start(stream_);
}

void Launches::begin_recording() {
  start();
  recording_ = numbers_.empty();
}

std::optional<Launches::Recording> Launches::end_recording() {
  if (!recording_) return std::nullopt;
  Recording recording{noted_, {}};
  for (size_t i = 0; i < numbers_.size(); ++i) recording.numbers.emplace_back(numbers_[i], ranges_[i]);
  start();
  return recording;
}

void Launches::run(const Graph& graph, const std::vector<int64_t>& numbers) {
  numbers_ = numbers;
  ranges_.resize(numbers.size());
  upload_numbers();
  graph.start(stream_);
}

int64_t Launches::run_again(const Graph& graph, const std::vector<int64_t>& numbers, const int64_t* result,
                            int64_t most) {
  constexpr unsigned kThreads = 256;
  start();
  numbers_ = numbers;
  ranges_.resize(numbers.size());
  uploaded_ = numbers.size();
  std::ranges::copy(numbers, pinned_turn_);  // the turn before was waited for
  int64_t* delivered = pinned_turn_ + kMostNumbers;
  turn_kernel<<<1, kThreads, 0, stream_>>>(
      {result, pinned_turn_, device_numbers_, delivered, static_cast<int64_t>(numbers.size()), most});
  check(cudaGetLastError(), "starting a kernel");
  check(cudaEventRecord(turned_, stream_), "computing");
  graph.start(stream_);
  check(cudaEventSynchronize(turned_), "computing");
  return *delivered;
}

void Launches::start() {
  recording_ = false;
  if (noted_.launches().empty()) return;
  upload_numbers();
  const auto known =
      std::find_if(replays_.begin(), replays_.end(), [&](const auto& r) { return r->noted == noted_; });
  if (noted_.launches().size() < kWorthReplaying) {
    noted_.start(stream_);
  } else if (known == replays_.end()) {
    if (replays_.size() == kMostReplays) replays_.pop_back();
    replays_.insert(replays_.begin(), std::make_unique<Replay>());
    Replay& replay = *replays_.front();
    replay.joined = with_joined_rows(noted_);
    std::swap(replay.noted, noted_);
    replay.joined.start(stream_);
  } else {
    std::rotate(replays_.begin(), known, known + 1);
    repeat(*replays_.front());
  }
  noted_.clear();
}

void Launches::wait() {
  start();
  check(cudaStreamSynchronize(stream_), "computing");
  numbers_.clear();
  ranges_.clear();
  uploaded_ = 0;
  enough_ = kEnough;
}

}  // namespace tl::cuda

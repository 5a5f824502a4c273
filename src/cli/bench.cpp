// tl bench MODEL: how fast a model runs, in llama-bench's terms, and how near that is to what the machine can
// do.
//
// Each test runs once to warm up and then R times. pp512 is a prompt of 512 tokens fed at once (in batches of
// -b), tg128 are 128 tokens fed one at a time, "@ d1024" says that the context held 1,024 tokens before.
// Token ids are pseudo-random: speed does not depend on them.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "backend/cpu/limits.h"
#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/devices.h"
#include "cli/engine.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "formats/registry.h"
#include "llm/model.h"

namespace tl::cli {

namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

enum class Form { table, json, csv, markdown };

struct BenchOptions {
  ModelOptions model = generating_options();
  ProfileOptions profile;
  std::vector<int64_t> prompts = {512}, generated = {128}, depths = {0};
  std::vector<int> threads = {0};
  int repetitions = 5;
  bool json = false, csv = false, markdown = false;

  Form form() const { return json ? Form::json : csv ? Form::csv : markdown ? Form::markdown : Form::table; }
};

/// What one token costs at least, whatever the engine: every weight matrix is read and multiplied once. (Of a
/// token embedding only one row is read, unless it is the output matrix too; only the last row of a prompt
/// goes through the output matrix.)
struct Work {
  double weight_bytes = 0, cache_bytes_per_token = 0;
  double multiply_adds_per_prompt_token = 0;

  Work(const ModelFile& file, const HyperParameters& config, double cache_element_bytes) {
    const bool tied = file.find_tensor("output.weight") == nullptr;
    for (const TensorEntry& t : file.tensors()) {
      if (t.shape.rank() != 2) continue;
      const bool embedding = t.name == "token_embd.weight", output = t.name == "output.weight";
      if (embedding && !tied) continue;
      weight_bytes += static_cast<double>(t.bytes);
      if (!embedding && !output) multiply_adds_per_prompt_token += static_cast<double>(t.shape.elements());
    }
    cache_bytes_per_token = 2.0 * static_cast<double>(config.n_layers * config.n_kv_heads * config.head_dim) *
                            cache_element_bytes;
  }
};

struct Test {
  bool prompt = true;
  int64_t n = 0, depth = 0;
  int threads = 0;
  std::vector<double> speeds;  ///< tokens/s, sorted
  double limit = 0;            ///< tokens/s that the machine allows; 0: not known

  std::string name() const {
    return fmt::format("{}{}{}", prompt ? "pp" : "tg", n, depth > 0 ? fmt::format(" @ d{}", depth) : "");
  }
  double median() const {
    const size_t middle = speeds.size() / 2;
    return speeds.size() % 2 == 1 ? speeds[middle] : (speeds[middle - 1] + speeds[middle]) / 2;
  }
};

struct Start {
  int threads = 0;
  double load = 0, first_token = 0;  ///< seconds
};

struct Report {
  std::string model, architecture, types;
  uint64_t bytes = 0;
  int64_t parameters = 0;
  std::string device;
  std::vector<Test> tests;
  std::vector<Start> starts;
  uint64_t peak_memory = 0;
  std::vector<std::pair<int, MachineLimits>> limits;
};

std::vector<int32_t> some_ids(int64_t n, int64_t n_vocab) {
  std::vector<int32_t> ids;
  uint32_t state = 1;
  for (int64_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    ids.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint64_t>(n_vocab)));
  }
  return ids;
}

void feed(Engine& engine, std::span<const int32_t> ids, int64_t batch, Profiler* profiler = nullptr) {
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(batch)) {
    check_interrupt();
    const auto part = ids.subspan(begin, std::min(ids.size() - begin, static_cast<size_t>(batch)));
    const auto timed = profiler != nullptr ? profiler->feed(part.size()) : nullptr;
    engine.step(part);
  }
}

/// A run to warm up feeds no more tokens than this.
constexpr int64_t kWarmUp = 512;

/// As generation without a temperature does, where the device that computes logits chooses from them.
void generate_drawn(Engine& engine, int32_t id, int64_t n, Profiler* profiler) {
  for (int64_t i = 0; i < n; ++i) {
    check_interrupt();
    const auto timed = profiler != nullptr ? profiler->feed(1) : nullptr;
    Draw draw{1, {}, 0};
    if (i + 1 < n) draw.bits_after = 0;
    id = engine.step_and_draw(std::span(&id, 1), draw);
  }
}

void run_once(Engine& engine, const Test& test, int64_t n, int64_t batch, Profiler* profiler) {
  const std::vector<int32_t> ids = some_ids(n, engine.n_vocab());
  if (!test.prompt && engine.most_candidates() > 0) return generate_drawn(engine, ids[0], n, profiler);
  feed(engine, ids, test.prompt ? batch : 1, profiler);
}

void measure(Engine& engine, Test& test, const BenchOptions& options, Profiler& profiler) {
  engine.truncate(0);
  feed(engine, some_ids(test.depth, engine.n_vocab()), options.model.batch_size());
  for (int i = 0; i <= options.repetitions; ++i) {
    engine.truncate(test.depth);
    const auto start = Clock::now();
    run_once(engine, test, i > 0 ? test.n : std::min(test.n, kWarmUp), options.model.batch_size(),
             i > 0 ? &profiler : nullptr);
    if (i > 0) test.speeds.push_back(static_cast<double>(test.n) / seconds_since(start));
  }
  std::sort(test.speeds.begin(), test.speeds.end());
}

std::vector<Test> tests_of(const BenchOptions& options, int threads) {
  std::vector<Test> tests;
  for (const int64_t depth : options.depths) {
    for (const int64_t n : options.prompts)
      if (n > 0) tests.push_back({true, n, depth, threads, {}, 0});
    for (const int64_t n : options.generated)
      if (n > 0) tests.push_back({false, n, depth, threads, {}, 0});
  }
  return tests;
}

/// The element types of the weight matrices, those with most bytes first.
std::string weight_types(const ModelFile& file) {
  std::map<DType, uint64_t> bytes;
  for (const TensorEntry& t : file.tensors())
    if (t.shape.rank() == 2) bytes[t.dtype] += t.bytes;
  std::vector<std::pair<uint64_t, DType>> order;
  for (const auto& [dtype, n] : bytes) order.emplace_back(n, dtype);
  std::sort(order.rbegin(), order.rend());
  std::vector<std::string> names;
  for (const auto& [n, dtype] : order) names.emplace_back(name(dtype));
  return fmt::format("{}", fmt::join(names, " "));
}

void describe(const ModelFile& file, const BenchOptions& options, Report& report) {
  report.model = file.path();
  report.architecture = file.architecture();
  report.types = weight_types(file);
  report.bytes = file.file_bytes();
  report.parameters = 0;
  for (const TensorEntry& t : file.tensors()) report.parameters += t.shape.elements();
  report.device = options.model.device;
}

/// Opens the model with so many threads and runs all tests.
void measure_with(int threads, const BenchOptions& options, Progress& bar, size_t& done, size_t total,
                  Report& report) {
  ModelOptions model = options.model;
  model.threads = threads;
  for (const Test& t : tests_of(options, threads)) model.context = std::max(model.context, t.depth + t.n);
  model.context = std::max<int64_t>(model.context, 16);
  Start start{threads, 0, 0};
  const auto begin = Clock::now();
  const auto engine = Engine::open(model);
  start.load = seconds_since(begin);
  feed(*engine, some_ids(16, engine->n_vocab()), model.batch_size());
  start.first_token = seconds_since(begin);
  report.starts.push_back(start);
  describe(engine->file(), options, report);
  Profiler profiler(options.profile, engine->session());
  for (Test& test : tests_of(options, threads)) {
    measure(*engine, test, options, profiler);
    report.tests.push_back(std::move(test));
    bar.update(++done, total);
  }
  profiler.report();
}

uint64_t peak_memory() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

/// What the machine would allow for each test: generation is bound by reading the weights and the cache, a
/// prompt by its products (not measured where a backend has memory of its own).
void add_limits(const Work& work, double copy_bandwidth, Report& report) {
  for (const Start& start : report.starts) {
    if (copy_bandwidth > 0) {
      report.limits.push_back({start.threads, {copy_bandwidth, 0}});
      continue;
    }
    ThreadPool pool(start.threads);
    report.limits.emplace_back(start.threads, measure_limits(pool));
  }
  for (Test& test : report.tests) {
    const auto at = std::find_if(report.limits.begin(), report.limits.end(),
                                 [&](const auto& l) { return l.first == test.threads; });
    const double context = static_cast<double>(test.depth) + static_cast<double>(test.n) / 2;
    test.limit = test.prompt ? at->second.multiply_adds_per_second / work.multiply_adds_per_prompt_token
                             : at->second.read_bytes_per_second /
                                   (work.weight_bytes + context * work.cache_bytes_per_token);
  }
}

ordered_json as_json(const Report& report) {
  ordered_json j = {{"model", report.model},
                    {"architecture", report.architecture},
                    {"types", report.types},
                    {"bytes", report.bytes},
                    {"parameters", report.parameters},
                    {"device", report.device},
                    {"peak_memory_bytes", report.peak_memory}};
  for (const Start& s : report.starts)
    j["starts"].push_back(
        {{"threads", s.threads}, {"load_seconds", s.load}, {"first_token_seconds", s.first_token}});
  for (const auto& [threads, limits] : report.limits) {
    ordered_json limit = {{"threads", threads}, {"read_bytes_per_second", limits.read_bytes_per_second}};
    if (limits.multiply_adds_per_second > 0)
      limit["multiply_adds_per_second"] = limits.multiply_adds_per_second;
    j["limits"].push_back(std::move(limit));
  }
  for (const Test& t : report.tests) {
    ordered_json test = {{"test", t.name()},
                         {"threads", t.threads},
                         {"n_prompt", t.prompt ? t.n : 0},
                         {"n_gen", t.prompt ? 0 : t.n},
                         {"n_depth", t.depth},
                         {"tokens_per_second", t.median()},
                         {"samples", t.speeds}};
    if (t.limit > 0) test["limit_tokens_per_second"] = t.limit;
    j["tests"].push_back(std::move(test));
  }
  return j;
}

/// Rows of cells, the first one the head.
std::vector<std::vector<std::string>> as_cells(const Report& report) {
  std::vector<std::vector<std::string>> rows = {
      {"test", "threads", "tokens/s", "from", "to", "limit", "of limit"}};
  for (const Test& t : report.tests) {
    rows.push_back({t.name(), fmt::format("{}", t.threads), fmt::format("{:.2f}", t.median()),
                    fmt::format("{:.2f}", t.speeds.front()), fmt::format("{:.2f}", t.speeds.back()),
                    t.limit > 0 ? fmt::format("{:.1f}", t.limit) : "",
                    t.limit > 0 ? fmt::format("{:.0f} %", 100 * t.median() / t.limit) : ""});
  }
  return rows;
}

void print_csv(const Report& report) {
  for (const auto& row : as_cells(report)) fmt::print("{}\n", fmt::join(row, ","));
}

void print_rows(const std::vector<std::vector<std::string>>& rows, bool markdown) {
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line, rule;
    for (size_t i = 0; i < widths.size(); ++i) {
      const std::string cell = i == 0 ? fmt::format("{:<{}}", rows[r][i], widths[i])
                                      : fmt::format("{:>{}}", rows[r][i], widths[i]);
      line += (markdown ? "| " : i > 0 ? "  " : "") + cell + (markdown ? " " : "");
      rule += "|" + std::string(widths[i] + 1, '-') + (i == 0 ? "-" : ":");
    }
    fmt::print("{}\n", line + (markdown ? "|" : ""));
    if (markdown && r == 0) fmt::print("{}|\n", rule);
  }
}

void print_text(const Report& report, bool markdown) {
  fmt::print("{}: {}, {}, {:.1f} M parameters, {}, {}\n\n", report.model, report.architecture, report.types,
             static_cast<double>(report.parameters) / 1e6, format_size(report.bytes), report.device);
  if (!report.tests.empty()) {
    print_rows(as_cells(report), markdown);
    fmt::print("\n");
  }
  const char* bullet = markdown ? "- " : "";
  for (const Start& s : report.starts)
    fmt::print("{}{} threads: loaded in {:.3f} s, first token of a prompt of 16 after {:.3f} s\n", bullet,
               s.threads, s.load, s.first_token);
  for (const auto& [threads, limits] : report.limits) {
    const double read = limits.read_bytes_per_second / 1e9, products = limits.multiply_adds_per_second / 1e9;
    if (products > 0)
      fmt::print("{}{} threads: memory is read at {:.1f} GB/s, 8-bit multiply-adds run at {:.0f} G/s\n",
                 bullet, threads, read, products);
    else
      fmt::print("{}a copy in the device's memory reads and writes {:.0f} GB/s, together\n", bullet, read);
  }
  fmt::print("{}peak memory: {}\n", bullet, format_size(report.peak_memory));
}

void bench(BenchOptions options) {
  for (int& t : options.threads)
    if (t == 0) t = ThreadPool::physical_cores();
  Report report;
  const size_t total = tests_of(options, 0).size() * options.threads.size();
  {
    Progress bar("Measuring");
    size_t done = 0;
    for (const int threads : options.threads) measure_with(threads, options, bar, done, total, report);
  }
  report.peak_memory = peak_memory();  // before the limits are measured, which takes memory too
  const double copied = backend_of_device(options.model.device).copy_bandwidth();
  if (options.model.device == "cpu" || copied > 0) {
    const auto file = open_model_file(resolve_model(options.model.model));
    const auto bytes = [](const std::string& type) {
      constexpr int64_t kMany = 1024;
      return static_cast<double>(bytes_of(*dtype_from_name(type), kMany)) / kMany;
    };
    const double element = (bytes(options.model.cache_type_k) + bytes(options.model.cache_type_v)) / 2;
    add_limits(Work(*file, read_hyper_parameters(*file), element), copied, report);
  }
  switch (options.form()) {
    case Form::json:
      return print_json(as_json(report));
    case Form::csv:
      return print_csv(report);
    case Form::markdown:
      return print_text(report, true);
    case Form::table:
      return print_text(report, false);
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure how fast a model runs");
  constexpr int64_t kMost = int64_t{1} << 24;
  command->add_option("MODEL", options->model.model, "A model file, or a name from `tl models`")->required();
  command->add_option("-p,--n-prompt", options->prompts, "Prompts of so many tokens; 0: none")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, kMost));
  command->add_option("-n,--n-gen", options->generated, "Generate so many tokens; 0: none")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, kMost));
  command->add_option("-d,--n-depth", options->depths, "With so many tokens in the context before")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, kMost));
  command->add_option("-r,--repetitions", options->repetitions, "How often each test is measured")
      ->check(CLI::Range(1, 10000));
  auto* json = command->add_flag("--json", options->json, "Print JSON");
  auto* csv = command->add_flag("--csv", options->csv, "Print comma-separated values")->excludes(json);
  command->add_flag("--markdown", options->markdown, "Print Markdown")->excludes(json)->excludes(csv);
  add_model_options(*command, options->model);
  add_profile_options(*command, options->profile);
  command->remove_option(command->get_option("--threads"));
  command->remove_option(command->get_option("--ctx-size"));
  command
      ->add_option("-t,--threads", options->threads,
                   "Threads, one or several counts; 0 is one per physical core")
      ->delimiter(',')
      ->check(CLI::Range(0, 4096));
  command->callback([options] { bench(*options); });
}

}  // namespace tl::cli

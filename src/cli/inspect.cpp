// tl inspect MODEL: what a model file says about itself.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "formats/model_file.h"
#include "formats/registry.h"
#include "tensor/statistics.h"

namespace tl::cli {

namespace {

using nlohmann::ordered_json;

struct InspectOptions {
  std::string model;
  bool stats = false, json = false, mmap = true;
  int threads = 0;
};

using Statistics = std::vector<TensorStatistics>;

Statistics statistics_of_all(const ModelFile& file, int n_threads) {
  ThreadPool pool(n_threads);
  Progress progress("Reading tensors", Progress::Unit::bytes);
  Statistics all;
  uint64_t done = 0;
  for (const TensorEntry& entry : file.tensors()) {
    check_interrupt();
    all.push_back(tensor_statistics(file.tensor(entry), pool));
    progress.update(done += entry.bytes, file.tensor_bytes());
  }
  return all;
}

int64_t parameter_count(const ModelFile& file) {
  int64_t count = 0;
  for (const TensorEntry& entry : file.tensors()) count += entry.shape.elements();
  return count;
}

/// The architecture's keys with the prefix taken off, in the file's order: what the model program will see.
std::vector<const MetaEntry*> hyperparameters(const ModelFile& file) {
  std::vector<const MetaEntry*> found;
  const std::string prefix = file.architecture() + ".";
  for (const MetaEntry& entry : file.metadata()) {
    if (prefix.size() > 1 && entry.key.starts_with(prefix)) found.push_back(&entry);
  }
  return found;
}

/// What is in the file; keys that its reader derived are not.
std::vector<const MetaEntry*> metadata(const ModelFile& file) {
  std::vector<const MetaEntry*> found;
  for (const MetaEntry& entry : file.metadata())
    if (!entry.key.starts_with("tensorlogic.")) found.push_back(&entry);
  return found;
}

void print_table(const ModelFile& file, const Statistics& statistics) {
  size_t width = 4, shape_width = 5;
  for (const TensorEntry& t : file.tensors()) {
    width = std::max(width, t.name.size());
    shape_width = std::max(shape_width, to_string(t.shape).size());
  }
  fmt::print("\nTensors ({})\n  {:{}}  {:7}  {:{}}  {:>10}", file.tensors().size(), "name", width, "type",
             "shape", shape_width, "size");
  if (!statistics.empty()) {
    fmt::print("  {:>11}  {:>11}  {:>11}  {:>11}  {:>5}  {:>5}", "min", "max", "mean", "std", "nan", "inf");
  }
  fmt::print("\n");
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const TensorEntry& t = file.tensors()[i];
    fmt::print("  {:{}}  {:7}  {:{}}  {:>10}", t.name, width, info(t.dtype).gguf_name, to_string(t.shape),
               shape_width, format_size(t.bytes));
    if (!statistics.empty()) {
      const TensorStatistics& s = statistics[i];
      fmt::print("  {:>11.5g}  {:>11.5g}  {:>11.4g}  {:>11.4g}  {:>5}  {:>5}", s.min, s.max, s.mean, s.std,
                 s.nan, s.inf);
    }
    fmt::print("\n");
  }
}

void print_report(const ModelFile& file, const Statistics& statistics) {
  fmt::print("{}\n", file.path());
  fmt::print("  container     {}\n", file.container());
  fmt::print("  architecture  {}\n", file.architecture().empty() ? "(not stated)" : file.architecture());
  fmt::print("  file size     {}\n", format_size(file.file_bytes()));
  const int64_t parameters = parameter_count(file);
  fmt::print("  parameters    {:.1f} M", static_cast<double>(parameters) / 1e6);
  if (parameters > 0) {
    const double bits = 8 * static_cast<double>(file.tensor_bytes()) / static_cast<double>(parameters);
    fmt::print(", {:.2f} bits each", bits);
  }
  const auto hyper = hyperparameters(file);
  fmt::print("\n\nHyperparameters\n");
  const size_t prefix = file.architecture().size() + 1;
  for (const MetaEntry* entry : hyper) {
    fmt::print("  {:40}  {}\n", entry->key.substr(prefix), to_string(entry->value));
  }
  const auto meta = metadata(file);
  fmt::print("\nMetadata ({})\n", meta.size());
  for (const MetaEntry* entry : meta) {
    fmt::print("  {:40}  {:16}  {}\n", entry->key, type_name(entry->value), to_string(entry->value));
  }
  print_table(file, statistics);
}

ordered_json to_json(const MetaValue& value) {
  return std::visit([](const auto& v) { return ordered_json(v); }, value.data);
}

void print_json_report(const ModelFile& file, const Statistics& statistics) {
  ordered_json j;
  j["path"] = file.path();
  j["container"] = file.container();
  j["architecture"] = file.architecture();
  j["file_bytes"] = file.file_bytes();
  j["parameters"] = parameter_count(file);
  j["hyperparameters"] = ordered_json::object();
  for (const MetaEntry* entry : hyperparameters(file)) {
    j["hyperparameters"][entry->key.substr(file.architecture().size() + 1)] = to_json(entry->value);
  }
  j["metadata"] = ordered_json::object();
  for (const MetaEntry* entry : metadata(file)) j["metadata"][entry->key] = to_json(entry->value);
  j["tensors"] = ordered_json::array();
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const TensorEntry& t = file.tensors()[i];
    ordered_json row = {{"name", t.name},
                        {"type", info(t.dtype).gguf_name},
                        {"shape", std::vector<int64_t>(t.shape.begin(), t.shape.end())},
                        {"bytes", t.bytes}};
    if (!statistics.empty()) {
      const TensorStatistics& s = statistics[i];
      row.update(
          {{"min", s.min}, {"max", s.max}, {"mean", s.mean}, {"std", s.std}, {"nan", s.nan}, {"inf", s.inf}});
    }
    j["tensors"].push_back(std::move(row));
  }
  print_json(j);
}

void inspect(const InspectOptions& options) {
  const auto file = open_model_file(resolve_model(options.model), options.mmap);
  const Statistics statistics = options.stats ? statistics_of_all(*file, options.threads) : Statistics{};
  options.json ? print_json_report(*file, statistics) : print_report(*file, statistics);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "Show a model's metadata, hyperparameters and tensors");
  command->add_option("MODEL", options->model, "A model file, or a name from `tl models`")->required();
  command->add_flag("--stats", options->stats, "Per tensor: min, max, mean, standard deviation, NaN, Inf");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_option("-t,--threads", options->threads, "Threads; 0 is one per physical core")
      ->check(CLI::Range(0, 4096));
  command->add_flag_callback(
      "--no-mmap", [options] { options->mmap = false; }, "Read the model into memory instead of mapping it");
  command->callback([options] { inspect(*options); });
}

}  // namespace tl::cli

// The options that every command with a model shares.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "graph/plan.h"
#include "llm/sampling.h"
#include "runtime/precision.h"
#include "tensor/dtype.h"

namespace CLI {
class App;
}

namespace tl::cli {

/// Which model, and how it is run.
struct ModelOptions {
  std::string model;            ///< a path, or a name that resolve_model() knows
  std::string device = "cpu";   ///< "cpu", "reference", "cuda" or "cuda:N"
  int threads = 0;              ///< 0: the physical cores, or the processors
  std::vector<int> processors;  ///< that threads are pinned to; none: they are not
  int64_t context = 0;          ///< tokens of KV cache; 0: the model's own context, at most 4096
  int64_t batch = 512;          ///< prompt tokens per step; 0: as many as suit the device
  std::optional<int> layers;    ///< only the first so many layers, then final norm and output
  std::string program;          ///< a model program; "": chosen by the architecture
  std::string models_dir;       ///< where model programs are found; "": the installed ones
  bool mmap = true;             ///< map the file, or read it into memory
  std::string cache_type_k = "f32", cache_type_v = "f32";  ///< "f32", "f16" or "q8_0"
  Precision precision;                                     ///< of activations, residual stream and sums
  bool batch_invariant = false;    ///< a prompt at once gives the bits of one fed token by token
  bool dump_graph = false;         ///< show each plan on standard error
  graph::PassOptions passes;       ///< fusions, each of which can be switched off
  std::vector<std::string> plant;  ///< faults to put in: "rope-pairing@5"
  /// Told what else is worth knowing about a run; empty: it goes to standard error.
  std::function<void(const std::string&)> notice;

  int64_t batch_size() const;
};

/// What commands that make text start from: the KV cache in float16, and batches as suit the device.
ModelOptions generating_options();

/// Adds --device, -t, -c, -b, --layers, --program, --models, --no-mmap, --cache-type, --activations,
/// --residual, --accumulate, --batch-invariant, --cpu-mask, --cpu-range, --dump-graph, --unfused, --no-fuse
/// and --plant.
void add_model_options(CLI::App& command, ModelOptions& options);

/// Adds --temp, --top-k, --top-p, --min-p, --repeat-penalty and so on.
void add_sampling_options(CLI::App& command, SamplingOptions& options);

/// Where a prompt comes from: -p TEXT, -f FILE ("-": standard input) or --tokens.
struct PromptOptions {
  std::optional<std::string> text;
  std::string file;
  std::optional<std::vector<int32_t>> tokens;
};

void add_prompt_options(CLI::App& command, PromptOptions& options);

/// An element type by name, for weights. Throws UsageError naming the known ones.
DType parse_weight_type(const std::string& name);

/// "1, 2,3" -> ids. Throws UsageError naming what is not an id.
std::vector<int32_t> parse_token_ids(const std::string& text);

/// The processors whose bits are set: "5" and "0x5" are 0 and 2. Throws UsageError.
std::vector<int> parse_cpu_mask(const std::string& text);
/// "0-3" -> 0, 1, 2, 3. Throws UsageError.
std::vector<int> parse_cpu_range(const std::string& text);

/// The directory of model programs that `--models` or the place of this executable gives:
/// PREFIX/share/tensorlogic/models beside PREFIX/bin/tl.
std::string model_programs_dir(const std::string& option);

}  // namespace tl::cli

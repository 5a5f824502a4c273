#include "cli/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/error.h"
#include "cli/devices.h"

namespace tl::cli {

namespace {

void add_cache_options(CLI::App& command, ModelOptions& o, const char* group) {
  const CLI::IsMember types({"f32", "f16", "q8_0"});
  command
      .add_option_function<std::string>(
          "--cache-type", [&o](const std::string& type) { o.cache_type_k = o.cache_type_v = type; },
          "Element type of the KV cache: f32, f16 (the default where text is made) or q8_0 (8 bits, in "
          "blocks)")
      ->check(types)
      ->group(group);
  command.add_option("--cache-type-k", o.cache_type_k, "The same, of keys alone")->check(types)->group(group);
  command.add_option("--cache-type-v", o.cache_type_v, "The same, of values alone")
      ->check(types)
      ->group(group);
}

void add_processor_options(CLI::App& command, ModelOptions& o, const char* group) {
  const auto add = [&o](const std::vector<int>& more) {
    o.processors.insert(o.processors.end(), more.begin(), more.end());
    std::sort(o.processors.begin(), o.processors.end());
    o.processors.erase(std::unique(o.processors.begin(), o.processors.end()), o.processors.end());
  };
  command
      .add_option_function<std::string>(
          "-C,--cpu-mask", [add](const std::string& text) { add(parse_cpu_mask(text)); },
          "Pin each thread to a processor of its own, of those whose bits are set (hexadecimal)")
      ->option_text("MASK")
      ->group(group);
  command
      .add_option_function<std::string>(
          "--cpu-range", [add](const std::string& text) { add(parse_cpu_range(text)); },
          "The same, of processors LO to HI")
      ->option_text("LO-HI")
      ->group(group);
}

void add_fusion_option(CLI::App& command, ModelOptions& o, const char* group) {
  command
      .add_option_function<std::vector<std::string>>(
          "--no-fuse",
          [&o](const std::vector<std::string>& names) {
            try {
              for (const std::string& name : names) o.passes.switch_off(name);
            } catch (const Error& e) {
              throw UsageError(fmt::format("--no-fuse: {}", e.what()));
            }
          },
          "Run without a fusion: attention (scores, softmax and their product in one kernel), swiglu "
          "(silu(gate) "
          "times up), products (those of the same rows one after the other); several with commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->option_text("NAME[,NAME…]")
      ->group(group);
}

}  // namespace

ModelOptions generating_options() {
  ModelOptions options;
  options.cache_type_k = options.cache_type_v = "f16";
  options.batch = 0;
  return options;
}

/// The results of a step of 128 rows take a tenth of a small model's memory at most, and a processor
/// multiplies so many as fast as more; a GPU needs more.
int64_t ModelOptions::batch_size() const {
  if (batch > 0) return batch;
  return device.starts_with("cuda") ? 512 : 128;
}

void add_model_options(CLI::App& command, ModelOptions& o) {
  constexpr const char* kGroup = "Running the model";
  command
      .add_option("--device", o.device, "Where it runs: cpu, reference (float64 throughout), cuda or cuda:N")
      ->check(check_device_name, "DEVICE")
      ->group(kGroup);
  command.add_option("-t,--threads", o.threads, "Threads; 0 is one per physical core")
      ->check(CLI::Range(0, 4096))
      ->group(kGroup);
  add_processor_options(command, o, kGroup);
  command
      .add_option("-c,--ctx-size", o.context,
                  "Tokens the context holds; 0 is the model's own length, at most 4096")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))
      ->group(kGroup);
  command
      .add_option("-b,--batch-size", o.batch,
                  "Prompt tokens processed at once; otherwise 128 or 512, as suits command and device")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->group(kGroup);
  command.add_option("--layers", o.layers, "Run only the first K layers, then final norm and output")
      ->check(CLI::Range(0, 1 << 20))
      ->option_text("K")
      ->group(kGroup);
  command.add_option("--program", o.program, "The model program (.tl); otherwise chosen by the architecture")
      ->option_text("FILE")
      ->group(kGroup);
  command
      .add_option("--models", o.models_dir, "Where model programs are found; otherwise the installed ones")
      ->option_text("DIR")
      ->group(kGroup);
  command
      .add_flag_callback(
          "--no-mmap", [&o] { o.mmap = false; }, "Read the model into memory instead of mapping it")
      ->group(kGroup);
  add_cache_options(command, o, kGroup);
  const auto precision = [&](const char* part, const char* help) {
    command
        .add_option_function<std::string>(
            fmt::format("--{}", part),
            [&o, part](const std::string& type) {
              try {
                set_precision(o.precision, part, type);
              } catch (const Error& e) {
                throw UsageError(fmt::format("--{}", e.what()));
              }
            },
            help)
        ->option_text("TYPE")
        ->group(kGroup);
  };
  precision("activations",
            "Types of results: q8 (the default: 8 bits a block where they meet quantised weights), float32, "
            "float16, bfloat16");
  precision("residual", "Type of the residual stream, if another than that of other results");
  precision("accumulate", "Type of running sums: float64, float32 (the default), float16, bfloat16");
  command
      .add_flag(
          "--batch-invariant", o.batch_invariant,
          "A prompt at once gives the bits of the same tokens fed one by one: slower with cuda, always so "
          "elsewhere")
      ->group(kGroup);
  command.add_flag("--dump-graph", o.dump_graph, "Show each plan on standard error")->group(kGroup);
  command
      .add_flag_callback(
          "--unfused", [&o] { o.passes = graph::PassOptions::none(); },
          "Run every operation by itself: fused kernels show nothing of their inside")
      ->group(kGroup);
  add_fusion_option(command, o, kGroup);
  command
      .add_option("--plant", o.plant,
                  "Put a known fault into a layer of the run, to see whether it is found (may be repeated; "
                  "docs/diagnosis.md lists them)")
      ->option_text("FAULT@LAYER")
      ->allow_extra_args(false)
      ->group(kGroup);
}

void add_sampling_options(CLI::App& command, SamplingOptions& o) {
  constexpr const char* kGroup = "Sampling";
  command.add_option("--temp", o.temp, "Temperature; 0 always takes the most probable token")->group(kGroup);
  command.add_option("--top-k", o.top_k, "Keep the k most probable tokens; 0 keeps all")->group(kGroup);
  command.add_option("--top-p", o.top_p, "Keep the fewest tokens whose probabilities reach p; 1 keeps all")
      ->group(kGroup);
  command.add_option("--min-p", o.min_p, "Keep tokens at least p times as probable as the best; 0 keeps all")
      ->group(kGroup);
  command.add_option("--repeat-penalty", o.repeat_penalty, "Penalise recent tokens; 1 is none")
      ->group(kGroup);
  command.add_option("--presence-penalty", o.presence_penalty, "Subtracted from logits of recent tokens")
      ->group(kGroup);
  command.add_option("--frequency-penalty", o.frequency_penalty, "Subtracted once per occurrence")
      ->group(kGroup);
  command.add_option("--repeat-last-n", o.repeat_last_n, "How many tokens are recent; -1 is all")
      ->group(kGroup);
  command.add_option("-s,--seed", o.seed, "Seed of the random numbers; -1 draws one")->group(kGroup);
}

void add_prompt_options(CLI::App& command, PromptOptions& o) {
  auto* text = command.add_option("-p,--prompt", o.text, "The prompt, taken as it is")->option_text("TEXT");
  auto* file = command.add_option("-f,--file", o.file, "Read the prompt from a file; - is standard input")
                   ->option_text("FILE");
  const auto parse = [&o](const std::string& ids) { o.tokens = parse_token_ids(ids); };
  auto* tokens = command.add_option_function<std::string>("--tokens", parse,
                                                          "The prompt as token ids, exactly these: 1,2,3");
  tokens->option_text("IDS");
  text->excludes(file)->excludes(tokens);
  file->excludes(tokens);
}

DType parse_weight_type(const std::string& name) {
  if (const auto dtype = dtype_from_name(name)) return *dtype;
  throw UsageError(fmt::format(
      "'{}' is no element type; weights are written as q4_0, q4_1, q8_0, q4_k, q6_k, f16, bf16 or f32",
      name));
}

std::vector<int32_t> parse_token_ids(const std::string& text) {
  std::vector<int32_t> ids;
  for (const std::string& part : CLI::detail::split(text, ',')) {
    const std::string item = CLI::detail::trim_copy(part);
    int32_t id = 0;
    const auto [end, status] = std::from_chars(item.data(), item.data() + item.size(), id);
    if (status != std::errc() || end != item.data() + item.size() || id < 0) {
      throw UsageError(fmt::format("--tokens takes ids separated by commas (1,2,3); '{}' is not one", item));
    }
    ids.push_back(id);
  }
  return ids;
}

std::vector<int> parse_cpu_mask(const std::string& text) {
  const std::string digits = text.starts_with("0x") || text.starts_with("0X") ? text.substr(2) : text;
  std::vector<int> processors;
  for (size_t i = digits.size(); i-- > 0;) {
    int digit = 0;
    const auto [end, status] = std::from_chars(&digits[i], &digits[i] + 1, digit, 16);
    if (status != std::errc())
      throw UsageError(fmt::format("--cpu-mask takes hexadecimal digits, and '{}' is none", digits[i]));
    for (int bit = 0; bit < 4; ++bit)
      if ((digit >> bit & 1) != 0) processors.push_back(static_cast<int>(4 * (digits.size() - 1 - i)) + bit);
  }
  if (processors.empty()) throw UsageError(fmt::format("--cpu-mask {} names no processor", text));
  return processors;
}

std::vector<int> parse_cpu_range(const std::string& text) {
  constexpr int kMost = 1 << 16;
  int first = -1, last = -1;
  const char* const end = text.data() + text.size();
  const auto low = std::from_chars(text.data(), end, first);
  const bool dash = low.ec == std::errc() && low.ptr != end && *low.ptr == '-';
  const auto high = dash ? std::from_chars(low.ptr + 1, end, last) : low;
  if (!dash || high.ec != std::errc() || high.ptr != end || first < 0 || last < first || last > kMost)
    throw UsageError(fmt::format("--cpu-range takes processors as LO-HI (0-3), not '{}'", text));
  std::vector<int> processors;
  for (int i = first; i <= last; ++i) processors.push_back(i);
  return processors;
}

std::string model_programs_dir(const std::string& option) {
  namespace fs = std::filesystem;
  std::error_code status;
  if (!option.empty()) {
    if (!fs::is_directory(option, status))
      throw Error(fmt::format("--models {}: there is no such directory", option));
    return option;
  }
  const fs::path program = fs::read_symlink("/proc/self/exe", status);
  return (program.parent_path().parent_path() / "share/tensorlogic/models").string();
}

}  // namespace tl::cli

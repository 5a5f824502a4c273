// tl models: what lies in the model cache, and what can be fetched by name.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"
#include "formats/registry.h"

namespace tl::cli {

namespace {

void print_models_json() {
  nlohmann::ordered_json j;
  j["cache"] = model_cache();
  j["models"] = nlohmann::ordered_json::array();
  for (const CachedModel& m : cached_models()) {
    j["models"].push_back({{"name", m.name}, {"path", m.path}, {"bytes", m.bytes}, {"partial", m.partial}});
  }
  j["available"] = nlohmann::ordered_json::array();
  for (const RegistryRow& row : registry()) {
    j["available"].push_back({{"name", row.name}, {"source", row.source}, {"description", row.description}});
  }
  print_json(j);
}

void print_models() {
  const std::vector<CachedModel> cached = cached_models();
  size_t width = 4;
  for (const CachedModel& m : cached) width = std::max(width, m.name.size());
  for (const RegistryRow& row : registry()) width = std::max(width, row.name.size());

  fmt::print("In {}\n", model_cache());
  for (const CachedModel& m : cached) {
    fmt::print("  {:{}}  {:>10}  {}\n", m.name, width, format_size(m.bytes),
               m.partial ? "(incomplete: pull it again to go on)" : m.path);
  }
  if (cached.empty()) fmt::print("  (none)\n");
  fmt::print("\nKnown by name (tl pull NAME)\n");
  for (const RegistryRow& row : registry()) fmt::print("  {:{}}  {}\n", row.name, width, row.description);
}

}  // namespace

void add_models(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("models", "List the models in the cache and those known by name");
  command->add_flag("--json", *json, "Print JSON");
  command->callback([json] { *json ? print_models_json() : print_models(); });
}

}  // namespace tl::cli

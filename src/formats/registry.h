// The model cache and where models come from (`tl pull`, `tl models`, and every command that takes a model).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tl {

/// A model known by name.
struct RegistryRow {
  std::string name;         ///< "smollm2-135m"
  std::string source;       ///< "pip:PACKAGE" or "hf:USER/REPO/FILE"
  std::string file;         ///< its name in the cache
  std::string description;  ///< one line: what it is, size, license
  double temp, top_p;       ///< how its authors recommend to sample
};
const std::vector<RegistryRow>& registry();

/// The row of that name, or null.
const RegistryRow* find_registered(const std::string& name);

/// $TENSORLOGIC_MODELS, else $XDG_CACHE_HOME/tensorlogic/models, else ~/.cache/tensorlogic/models.
std::string model_cache();

/// The path of a model: an existing path as it is; a registry name or a file name in the cache (with or
/// without
/// ".gguf") as its path there. Throws Error saying what to do: the `tl pull` that would fetch it, or the
/// nearest names.
std::string resolve_model(const std::string& name_or_path);

struct CachedModel {
  std::string name;  ///< registry name where it has one, else the file name
  std::string path;
  uint64_t bytes = 0;
  bool partial = false;  ///< an interrupted download
};
/// What lies in the cache, sorted by name.
std::vector<CachedModel> cached_models();

struct PullProgress {
  uint64_t done_bytes = 0, total_bytes = 0;  ///< total 0: unknown
  std::string message;                       ///< where not empty: something to tell ("resuming at 120 MB")
};
/// Fetches into the cache and returns the path; a model that is already there is not fetched again. `what` is
/// a registry name, an http(s) URL, or hf:USER/REPO/FILE (base $HF_ENDPOINT, token $HF_TOKEN). Interrupted
/// downloads resume. The SHA-256 that the server states is verified; a mismatch removes the file. The
/// callback returns false to cancel (the part stays; throws Interrupted). Throws Error saying what to do by
/// hand where the network is closed.
std::string pull_model(const std::string& what,
                       const std::function<bool(const PullProgress&)>& progress = {});

}  // namespace tl

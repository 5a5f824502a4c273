// --profile and --profile-json: where the time of a command's runs goes.
#pragma once

#include <memory>
#include <string>

#include "inspect/profile.h"

namespace CLI {
class App;
}

namespace tl::cli {

struct ProfileOptions {
  bool show = false;
  std::string json;  ///< a file for the Chrome trace, or ""
};

void add_profile_options(CLI::App& command, ProfileOptions& options);

/// Watches a session while it lives, if the options ask for that.
class Profiler {
 public:
  Profiler(const ProfileOptions& options, Session& session);
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  /// Marks the time until the result's end: tokens that are fed, several as a prompt.
  std::unique_ptr<inspect::Profile::Stretch> feed(size_t tokens);
  /// The same of a whole program.
  std::unique_ptr<inspect::Profile::Stretch> program();
  /// Prints the tables on standard error and writes the trace.
  void report();

 private:
  ProfileOptions options_;
  Session& session_;
  std::unique_ptr<inspect::Profile> profile_;
};

}  // namespace tl::cli

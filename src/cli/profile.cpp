#include "cli/profile.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/file.h"

namespace tl::cli {

namespace {

using inspect::Profile;

void print_line(const std::string& name, int64_t calls, double seconds, const Profile::Group& group) {
  fmt::print(stderr, "  {:28} {:>9} {:>11.3f} {:>7.1f} %\n", name, calls > 0 ? fmt::format("{}", calls) : "",
             seconds * 1e3, 100 * seconds / group.stretches.seconds);
}

/// Operations by time, then layers in their order.
void print_group(const std::string& kind, const Profile::Group& group) {
  const Profile::Total& all = group.stretches;
  fmt::print(stderr, "{}: {} runs", kind, all.calls);
  if (group.tokens > 0)
    fmt::print(stderr, ", {} tokens, {:.3f} ms a token", group.tokens,
               all.seconds * 1e3 / static_cast<double>(group.tokens));
  fmt::print(stderr, "\n  {:28} {:>9} {:>11} {:>9}\n", "operation", "calls", "ms", "share");
  std::vector<std::pair<std::string, Profile::Total>> operations(group.operations.begin(),
                                                                 group.operations.end());
  std::stable_sort(operations.begin(), operations.end(),
                   [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  for (const auto& [name, total] : operations) print_line(name, total.calls, total.seconds, group);
  print_line("interpreter and planner", 0, all.seconds - group.step_seconds(), group);
  // "layer[10]" comes after "layer[9]"
  std::vector<std::pair<std::string, Profile::Total>> layers(group.layers.begin(), group.layers.end());
  std::stable_sort(layers.begin(), layers.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first.size(), a.first) < std::pair(b.first.size(), b.first);
  });
  for (const auto& [name, total] : layers)
    print_line(name.empty() ? "outside of layers" : name, total.calls, total.seconds, group);
}

}  // namespace

void add_profile_options(CLI::App& command, ProfileOptions& options) {
  constexpr const char* kGroup = "Profiling";
  command
      .add_flag("--profile", options.show,
                "Show the time of each kind of operation and of each layer on standard error")
      ->group(kGroup);
  command
      .add_option("--profile-json", options.json,
                  "Write every operation's time to a file that chrome://tracing and Perfetto show")
      ->option_text("FILE")
      ->group(kGroup);
}

Profiler::Profiler(const ProfileOptions& options, Session& session) : options_(options), session_(session) {
  if (!options.show && options.json.empty()) return;
  profile_ = std::make_unique<Profile>(!options.json.empty());
  session.set_observer(profile_.get());
}

Profiler::~Profiler() {
  if (profile_) session_.set_observer(nullptr);
}

std::unique_ptr<Profile::Stretch> Profiler::feed(size_t tokens, bool is_draft) {
  if (!profile_) return nullptr;
  const char* kind = is_draft ? "verification" : tokens > 1 ? "prompt" : "generation";
  return std::make_unique<Profile::Stretch>(*profile_, kind, static_cast<int64_t>(tokens));
}

std::unique_ptr<Profile::Stretch> Profiler::program() {
  return profile_ ? std::make_unique<Profile::Stretch>(*profile_, "program", 0) : nullptr;
}

void Profiler::report() {
  if (!profile_) return;
  if (options_.show)
    for (const auto& [kind, group] : profile_->groups()) print_group(kind, group);
  if (options_.json.empty()) return;
  AtomicFile file(options_.json);
  file.write(profile_->chrome_trace());
  file.commit();
}

}  // namespace tl::cli

// Where the time of a run goes: an observer that reads the clock after every step.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "runtime/session.h"

namespace tl::inspect {

/// Times the steps of a session's runs, within stretches that the caller marks. What of a stretch is in no
/// step is the time of the interpreter and the planner.
class Profile final : public Observer {
 public:
  /// `keep_events`: also remember every single step, for chrome_trace().
  explicit Profile(bool keep_events) : keep_events_(keep_events) {}

  struct Total {
    int64_t calls = 0;
    double seconds = 0;
    void add(double duration) { ++calls, seconds += duration; }
  };
  /// All stretches of one kind.
  struct Group {
    Total stretches;
    int64_t tokens = 0;
    std::map<std::string, Total> operations;  ///< by name
    std::map<std::string, Total> layers;      ///< by the outermost loop: "layer[3]"; "" is outside of loops
    double step_seconds() const;
  };

  /// Begins a stretch of a kind ("prompt") in which so many tokens are fed; it ends with the object.
  class Stretch {
   public:
    Stretch(Profile& profile, const std::string& kind, int64_t tokens);
    ~Stretch();
    Stretch(const Stretch&) = delete;
    Stretch& operator=(const Stretch&) = delete;

   private:
    Profile& profile_;
    std::string kind_;
    double start_;
  };

  void on_run(const graph::Plan& plan, const graph::Trace& trace) override;
  void on_step(const ExecutedStep& step) override;
  bool sees_replays() const override { return true; }
  bool reads_tensors() const override { return false; }

  const std::map<std::string, Group>& groups() const { return groups_; }
  /// The steps as JSON for chrome://tracing or Perfetto: times in microseconds.
  std::string chrome_trace() const;

 private:
  struct Event {
    std::string name, category, place;
    double start, duration;
  };
  double now() const;

  bool keep_events_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::map<std::string, Group> groups_;
  Group* group_ = nullptr;  ///< of the current stretch
  double last_ = 0;         ///< when the step before ended
  double own_ = 0;          ///< seconds of the current stretch that went into this bookkeeping
  std::vector<Event> events_;
};

}  // namespace tl::inspect

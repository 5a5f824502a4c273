// A progress bar on standard error: only on a terminal, and only for work that takes more than a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace tl::cli {

/// One bar. update() may be called as often as is convenient; the bar is redrawn at most ten times a second.
class Progress {
 public:
  enum class Unit { count, bytes };
  explicit Progress(std::string label, Unit unit = Unit::count);
  /// Erases the bar.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `total` 0 means unknown: the bar then shows only what is done.
  void update(uint64_t done, uint64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  std::string label_;
  Unit unit_;
  bool enabled_, shown_ = false;
  Clock::time_point start_, last_;
};

}  // namespace tl::cli

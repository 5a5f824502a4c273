// Whether a walk of a program would be the same walk in the next step of a generation.
//
// From step to step of a generation only the position of the token changes. A program that does nothing with
// the position but add to it and hand it to operations that take positions makes the same graph in every
// step, with other numbers in it, and need not be walked again. To know that of a walk, ints that come from
// the position remember that they vary (Value::varies). Whoever reads one as a number, or asks for anything
// else that may be different in the next step, fixes the walk: what came of it holds for this step alone.
#pragma once

#include <utility>

namespace tl::lang {

class StepNumbers {
 public:
  /// Starts to watch a walk on this thread. `cache` is whose length counts as the position; what happens to
  /// others is left behind by the walk.
  static void watch(const void* cache) { fixed_ = false, cache_ = cache; }
  static const void* cache() { return cache_; }
  /// What this walk does depends on a number of this step, on the host, or on what earlier walks left behind.
  static void fix() { fixed_ = true; }
  static bool are_fixed() { return fixed_; }
  /// For a part of a walk: what was known before it.
  static bool exchange(bool fixed) { return std::exchange(fixed_, fixed); }

 private:
  static inline thread_local bool fixed_ = false;
  static inline thread_local const void* cache_ = nullptr;
};

}  // namespace tl::lang

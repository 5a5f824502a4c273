#include "cli/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "cli/output.h"

namespace tl::cli {

Progress::Progress(std::string label, Unit unit)
    : label_(std::move(label)), unit_(unit), enabled_(is_terminal(2)), start_(Clock::now()), last_(start_) {}

Progress::~Progress() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

void Progress::update(uint64_t done, uint64_t total) {
  const Clock::time_point now = Clock::now();
  if (!enabled_ || now - start_ < std::chrono::seconds(1)) return;
  if (shown_ && done != total && now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  shown_ = true;

  const auto show = [&](uint64_t n) { return unit_ == Unit::bytes ? format_size(n) : std::to_string(n); };
  std::string line = fmt::format("\r{}  ", label_);
  if (total == 0) {
    line += show(done);
  } else {
    constexpr uint64_t kWidth = 30;
    const double fraction = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const auto filled = static_cast<size_t>(fraction * static_cast<double>(kWidth));
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    line += fmt::format("[{}{}] {:3.0f} %  {} / {}", std::string(filled, '#'),
                        std::string(kWidth - filled, '.'), 100 * fraction, show(done), show(total));
    if (fraction > 0) line += fmt::format("  {:.0f} s left", elapsed * (1 - fraction) / fraction);
  }
  line += "\033[K";
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace tl::cli

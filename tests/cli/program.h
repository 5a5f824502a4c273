// Runs the program under test (TL_BIN) and captures what it says.
#pragma once

#include <csignal>
#include <map>
#include <string>
#include <vector>

namespace tl::test {

struct Output {
  int exit_code = -1;  ///< -1: ended by a signal
  int signal = 0;
  std::string out, err;
};

/// One move of a conversation on a terminal: wait until `expect` appears in what was not yet matched, then
/// type.
struct Move {
  std::string expect, type;
};

struct RunOptions {
  std::string input = {};                            ///< its standard input
  std::map<std::string, std::string> environment{};  ///< set beside ours
  std::string directory = {};                        ///< where it runs; "": here
  std::string stdout_path = {};  ///< a file instead of `out`; "closed": a pipe nobody reads
  bool terminal = false;         ///< give it a terminal; `out` then holds both streams, `input` is typed
  std::vector<Move> dialogue{};  ///< on a terminal, after `input`; what does not appear within a minute fails
  double interrupt_after = 0;    ///< seconds after which `signal` is sent; 0: never
  int signal = SIGINT;
};

/// Runs `tl ARGUMENTS`.
Output run_tl(const std::vector<std::string>& arguments, const RunOptions& options = {});

/// A folder that goes when the test does.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Writes a file and returns its path.
std::string write_file(const std::string& path, const std::string& content);

/// A tiny model of random weights (two layers, 64 wide, a byte-level vocabulary of 512), made once per test
/// program.
const std::string& tiny_model();

}  // namespace tl::test

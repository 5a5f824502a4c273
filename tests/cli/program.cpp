#include "cli/program.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include <fcntl.h>

namespace tl::test {

namespace {

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void redirect(const std::string& path, int flags, int target) {
  const int descriptor = ::open(path.c_str(), flags, 0600);
  if (descriptor < 0) ::_exit(126);
  ::dup2(descriptor, target);
  ::close(descriptor);
}

/// Standard output into a pipe whose reader has gone.
void close_reader() {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) ::_exit(126);
  ::dup2(ends[1], 1);
  ::close(ends[0]);
  ::close(ends[1]);
}

[[noreturn]] void become_program(const std::vector<std::string>& arguments, const RunOptions& options) {
  for (const auto& [key, value] : options.environment) ::setenv(key.c_str(), value.c_str(), 1);
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(126);
  const char* program = std::getenv("TL_BIN");
  std::vector<char*> argv = {const_cast<char*>(program)};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execv(program, argv.data());
  ::_exit(127);
}

void finish(pid_t child, Output& output) {
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status)) output.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) output.signal = WTERMSIG(status);
}

/// Reads until `enough` says so; false where the other side ends, or is silent for a minute, before that.
bool read_terminal(int terminal, std::string& text, const std::function<bool()>& enough) {
  std::array<char, 4096> buffer;
  while (!enough()) {
    pollfd ready = {terminal, POLLIN, 0};
    if (::poll(&ready, 1, 60'000) <= 0) return false;
    const ssize_t n = ::read(terminal, buffer.data(), buffer.size());
    if (n <= 0) return false;  // EIO: the other side has closed it
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  return true;
}

Output run_on_terminal(const std::vector<std::string>& arguments, const RunOptions& options) {
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) become_program(arguments, options);
  if (!options.input.empty() && ::write(terminal, options.input.data(), options.input.size()) < 0) {
    ADD_FAILURE() << "the terminal takes no input";
  }
  Output output;
  size_t matched = 0;
  for (const Move& move : options.dialogue) {
    const bool alive = read_terminal(terminal, output.out, [&] {
      const size_t at = output.out.find(move.expect, matched);
      if (at == std::string::npos) return false;
      matched = at + move.expect.size();
      return true;
    });
    if (!alive) {
      ADD_FAILURE() << "'" << move.expect << "' did not appear in:\n" << output.out;
      ::kill(child, SIGKILL);
      break;
    }
    if (::write(terminal, move.type.data(), move.type.size()) < 0)
      ADD_FAILURE() << "the terminal takes no input";
  }
  read_terminal(terminal, output.out, [] { return false; });
  ::close(terminal);
  finish(child, output);
  return output;
}

}  // namespace

Output run_tl(const std::vector<std::string>& arguments, const RunOptions& options) {
  if (std::getenv("TL_BIN") == nullptr) {
    ADD_FAILURE() << "TL_BIN must name the program under test";
    return {};
  }
  if (options.terminal) return run_on_terminal(arguments, options);
  const TempFolder folder;
  const std::string in = write_file(folder / "in", options.input), out = folder / "out", err = folder / "err";
  const pid_t child = ::fork();
  if (child == 0) {
    redirect(in, O_RDONLY, 0);
    if (options.stdout_path == "closed") {
      close_reader();
    } else {
      redirect(options.stdout_path.empty() ? out : options.stdout_path, O_WRONLY | O_CREAT, 1);
    }
    redirect(err, O_WRONLY | O_CREAT, 2);
    become_program(arguments, options);
  }
  std::thread interrupter;
  if (options.interrupt_after > 0) {
    interrupter = std::thread([&] {
      std::this_thread::sleep_for(std::chrono::duration<double>(options.interrupt_after));
      ::kill(child, options.signal);
    });
  }
  Output output;
  finish(child, output);
  if (interrupter.joinable()) interrupter.join();
  output.out = read_all(out);
  output.err = read_all(err);
  return output;
}

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "tl-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "no temporary folder: " << std::strerror(errno);
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

const std::string& tiny_model() {
  static const TempFolder folder;
  static const std::string path = [] {
    std::string file = folder / "tiny.gguf";
    const Output made =
        run_tl({"synth", file, "--layers", "2", "--hidden", "64", "--ffn", "96", "--heads", "4", "--kv-heads",
                "2", "--vocab", "512", "--type", "q8_0", "--context", "256"});
    EXPECT_EQ(made.exit_code, 0) << made.err;
    return file;
  }();
  return path;
}

}  // namespace tl::test

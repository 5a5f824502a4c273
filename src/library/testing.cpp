#include "library/testing.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <system_error>

#include <fmt/format.h>

#include "lang/interpreter.h"
#include "lang/lexer.h"
#include "library/model_functions.h"

namespace tl {

namespace {

// ---------------------------------------------------------------------------------------------- expectations

/// A comment that says what should happen.
struct Expectation {
  bool is_error = false;
  std::string text;
  int line = 0;
};

std::string_view without_trailing_blanks(std::string_view text) {
  const size_t last = text.find_last_not_of(" \t\r");
  return text.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

/// The expectation in a comment, if it is one.
std::optional<Expectation> expectation(const Source& source, const lang::Comment& comment) {
  std::string_view text = source.text().substr(comment.begin, comment.end - comment.begin);
  Expectation found{false, {}, source.position(comment.begin).line};
  if (text.starts_with("// expect error:")) {
    found.is_error = true;
    text.remove_prefix(std::string_view("// expect error:").size());
  } else if (text.starts_with("// expect:")) {
    text.remove_prefix(std::string_view("// expect:").size());
  } else {
    return std::nullopt;
  }
  if (text.starts_with(' ')) text.remove_prefix(1);
  found.text = without_trailing_blanks(text);
  return found;
}

/// All of a file, in order.
std::vector<Expectation> expectations(const Source& source) {
  std::vector<Expectation> all;
  uint32_t end = 0;
  for (const lang::Token& token : lang::tokenize(source).tokens) {
    if (token.comment_before)
      for (const lang::Comment& comment : lang::comments_between(source, end, token.begin))
        if (auto found = expectation(source, comment)) all.push_back(std::move(*found));
    end = token.end;
  }
  return all;
}

// ----------------------------------------------------------------------------------------------- comparing

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(without_trailing_blanks(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// One line of a diff: ' ' both have it, '-' only the expected text, '+' only the actual one.
struct DiffLine {
  char mark;
  std::string_view text;
};

/// The shortest diff (a longest common subsequence). Of very long texts, whose table would not fit, only what
/// follows their common beginning, all of it changed.
std::vector<DiffLine> diff(const std::vector<std::string_view>& expected,
                           const std::vector<std::string_view>& actual) {
  std::vector<DiffLine> out;
  size_t begin = 0;
  while (begin < expected.size() && begin < actual.size() && expected[begin] == actual[begin])
    out.push_back({' ', expected[begin++]});
  const size_t n = expected.size() - begin, m = actual.size() - begin;
  const bool is_small = n * m <= 4'000'000;
  // common[i][j]: how many lines the rests from i and j on have in common, in order.
  std::vector<uint32_t> common(is_small ? (n + 1) * (m + 1) : 0);
  const auto at = [&](size_t i, size_t j) -> uint32_t& { return common[i * (m + 1) + j]; };
  if (is_small)
    for (size_t i = n; i-- > 0;)
      for (size_t j = m; j-- > 0;)
        at(i, j) = expected[begin + i] == actual[begin + j] ? at(i + 1, j + 1) + 1
                                                            : std::max(at(i + 1, j), at(i, j + 1));
  size_t i = 0, j = 0;
  while (i < n || j < m) {
    if (is_small && i < n && j < m && expected[begin + i] == actual[begin + j]) {
      out.push_back({' ', expected[begin + i++]});
      ++j;
    } else if (i < n && (j == m || !is_small || at(i + 1, j) >= at(i, j + 1))) {
      out.push_back({'-', expected[begin + i++]});
    } else {
      out.push_back({'+', actual[begin + j++]});
    }
  }
  return out;
}

/// The changed lines of a diff with two unchanged ones around them; at most 40.
std::string shown(const std::vector<DiffLine>& lines) {
  constexpr size_t kContext = 2, kMost = 40;
  std::string out;
  size_t count = 0;
  bool gap = false;
  for (size_t i = 0; i < lines.size(); ++i) {
    bool near = false;
    for (size_t k = i < kContext ? 0 : i - kContext; k < std::min(lines.size(), i + kContext + 1); ++k)
      near = near || lines[k].mark != ' ';
    if (!near) {
      gap = !out.empty();
      continue;
    }
    if (++count > kMost) return out + "…\n";
    if (gap) out += "…\n";
    gap = false;
    out += lines[i].text.empty() ? fmt::format("{}\n", lines[i].mark)
                                 : fmt::format("{} {}\n", lines[i].mark, lines[i].text);
  }
  return out;
}

// ------------------------------------------------------------------------------------------------- running

class CapturingHost : public RuntimeHost {
 public:
  using RuntimeHost::RuntimeHost;
  void print(std::string_view text) override { output += text; }
  std::string input(std::string_view) override { return ""; }
  std::string output;
};

/// While it lives, the program runs in another folder.
class InFolder {
 public:
  explicit InFolder(const std::filesystem::path& folder) : before_(std::filesystem::current_path()) {
    if (!folder.empty()) std::filesystem::current_path(folder);
  }
  ~InFolder() {
    std::error_code ignored;
    std::filesystem::current_path(before_, ignored);
  }
  InFolder(const InFolder&) = delete;
  InFolder& operator=(const InFolder&) = delete;

 private:
  std::filesystem::path before_;
};

ProgramRun captured(const std::shared_ptr<const lang::Program>& program, Session& session,
                    const HostOptions& options, const std::function<void(lang::Interpreter&)>& body) {
  CapturingHost host(session, options);
  ProgramRun run;
  try {
    lang::Interpreter interpreter(program, host);
    body(interpreter);
  } catch (const ProgramError& e) {
    run.errors = e.diagnostics();
    run.error_text = e.what();
  } catch (const Error& e) {
    run.errors = {{Severity::error, {}, e.what()}};
    run.error_text = e.what();
  }
  run.output = std::move(host.output);
  return run;
}

/// One test: what is run, and what its comments say.
struct Case {
  std::string name;
  int line = 1;
  std::vector<Expectation> output, errors;
};

/// Whether an error is the one that a comment describes: the text is part of its message, and the comment
/// stands on its line (which an error in another file, or without a place, cannot have).
bool matches(const Diagnostic& error, const Expectation& expected, const Source& file) {
  if (error.message.find(expected.text) == std::string::npos) return false;
  return error.span.source != &file || file.position(error.span.begin).line == expected.line;
}

/// Compares the errors of a run with those expected; gives false where they differ.
bool check_errors(const Case& test, const ProgramRun& run, const Source& file, TestResult& result) {
  std::vector<const Diagnostic*> unexpected;
  std::vector<bool> met(test.errors.size());
  for (const Diagnostic& error : run.errors) {
    size_t i = 0;
    while (i < met.size() && (met[i] || !matches(error, test.errors[i], file))) ++i;
    if (i < met.size())
      met[i] = true;
    else
      unexpected.push_back(&error);
  }
  if (!unexpected.empty()) {
    const Diagnostic& first = *unexpected.front();
    if (first.span.source == &file) result.line = file.position(first.span.begin).line;
    result.message = lines_of(first.message).empty() ? "" : lines_of(first.message).front();
    result.details = first.span ? run.error_text : "";
    if (first.span.source == &file && &first == run.errors.data())  // the result says its first line already
      result.details.erase(0, std::min(result.details.find('\n'), result.details.size() - 1) + 1);
    return false;
  }
  const auto missing = std::find(met.begin(), met.end(), false);
  if (missing == met.end()) return true;
  const Expectation& expected = test.errors[static_cast<size_t>(missing - met.begin())];
  result.line = expected.line;
  result.message = fmt::format("the error \"{}\" was expected and did not come", expected.text);
  return false;
}

bool check_output(const Case& test, const ProgramRun& run, TestResult& result) {
  std::vector<std::string_view> expected;
  for (const Expectation& e : test.output) expected.push_back(e.text);
  const std::vector<DiffLine> lines = diff(expected, lines_of(run.output));
  size_t i = 0;  // of the expectation where they part
  for (const DiffLine& line : lines) {
    if (line.mark != ' ') {
      if (!expected.empty()) result.line = test.output[std::min(i, expected.size() - 1)].line;
      result.message = "the output differs (- expected, + printed)";
      result.details = shown(lines);
      return false;
    }
    ++i;
  }
  return true;
}

/// The tests of one file.
class FileTests {
 public:
  FileTests(const std::string& path, Session& session, const HostOptions& options)
      : session_(session),
        options_(options),
        program_(lang::Program::load(path, standard_library(), {{options.programs_dir}})),
        source_(program_->source()),
        expectations_(expectations(source_)) {}

  std::vector<TestResult> run(const std::string& filter) {
    try {
      program_->require_ok_outside_tests();
    } catch (const ProgramError&) {
      add(filter, {"check", 1, {}, expected(nullptr).errors}, true, [](lang::Interpreter&) {});
      return std::move(results_);
    }
    const Case main = expected(nullptr);
    if (!main.output.empty() || !main.errors.empty())
      add(filter, main, true, [](lang::Interpreter& interpreter) { interpreter.run_main({}); });
    for (const auto& block : program_->tests()) {
      const Case test = expected(block.get());
      add(filter, test, !test.output.empty(),
          [&](lang::Interpreter& interpreter) { interpreter.run_test(*block); });
    }
    return std::move(results_);
  }

 private:
  int line_of(uint32_t offset) const { return source_.position(offset).line; }

  /// What the comments on the lines of a test block say, or those outside of all blocks.
  Case expected(const lang::ast::Function* block) const {
    Case test{block ? block->name : "main", 1, {}, {}};
    const lang::ast::Function* begin = block ? block : program_->main();
    if (begin) test.line = line_of(begin->span.begin);
    for (const Expectation& e : expectations_) {
      const lang::ast::Function* owner = nullptr;
      for (const auto& candidate : program_->tests())
        if (line_of(candidate->span.begin) <= e.line && e.line <= line_of(candidate->span.end))
          owner = candidate.get();
      if (owner == block) (e.is_error ? test.errors : test.output).push_back(e);
    }
    return test;
  }

  void add(const std::string& filter, const Case& test, bool compares_output,
           const std::function<void(lang::Interpreter&)>& body) {
    TestResult result{source_.name(), test.name, test.line};
    if (fmt::format("{}: {}", result.file, result.name).find(filter) == std::string::npos) return;
    const InFolder here(std::filesystem::path(source_.name()).parent_path());
    const ProgramRun run = captured(program_, session_, options_, body);
    result.passed =
        check_errors(test, run, source_, result) && (!compares_output || check_output(test, run, result));
    results_.push_back(std::move(result));
  }

  Session& session_;
  const HostOptions& options_;
  std::shared_ptr<const lang::Program> program_;
  const Source& source_;
  std::vector<Expectation> expectations_;
  std::vector<TestResult> results_;
};

}  // namespace

ProgramRun run_captured(const std::shared_ptr<const lang::Program>& program, Session& session,
                        const HostOptions& options, const std::vector<std::string>& args) {
  return captured(program, session, options, [&](lang::Interpreter& interpreter) {
    program->require_ok();
    interpreter.run_main(args);
  });
}

std::vector<TestResult> run_tests(const std::string& path, Session& session, const HostOptions& options,
                                  const std::string& filter) {
  return FileTests(path, session, options).run(filter);
}

std::vector<std::string> program_files(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code status;
  if (!fs::exists(path, status)) throw Error(fmt::format("{}: there is no such file or folder", path));
  if (!fs::is_directory(path, status)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path, status))
    if (entry.path().extension() == ".tl" && entry.is_regular_file(status))
      files.push_back(entry.path().lexically_normal().string());
  if (status) throw Error(fmt::format("{}: {}", path, status.message()));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace tl

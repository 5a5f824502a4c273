// Programs as tests: blocks test "name" { … }, and comments that say what a program prints or how it fails.
//
//   print(1 + 1)    // expect: 2                  one comment per line of output, in order
//   let x = [1][5]  // expect error: index 5      an error on this line whose message contains the text
//
// Comments on the lines of a test block are about that block, all others about main.
#pragma once

#include <string>
#include <vector>

#include "lang/program.h"
#include "library/host.h"

namespace tl {

/// How one test went.
struct TestResult {
  std::string file;
  std::string name;  ///< of the block; "main"; "check" where the program is not well formed
  int line = 0;      ///< where it failed, else where it begins
  bool passed = true;
  std::string message = {};  ///< in one line, what went wrong
  std::string details = {};  ///< a diff, or the rendered errors
};

/// What a program did.
struct ProgramRun {
  std::string output;                   ///< what it printed
  std::vector<Diagnostic> errors = {};  ///< of the checker, or the failure that ended it; they point into
                                        ///< the program
  std::string error_text = {};          ///< the same, rendered; empty if all went well
};

/// Runs main; what it prints is captured, and `input` gives empty lines. Errors of the checker are in the
/// result.
ProgramRun run_captured(const std::shared_ptr<const lang::Program>& program, Session& session,
                        const HostOptions& options, const std::vector<std::string>& args = {});

/// Runs the tests of a file whose "FILE: NAME" contains `filter`, in the order they are written, each from
/// fresh globals and in the folder of the file, beside which it finds its data. None for a file that has
/// neither test blocks nor expectations and is well formed.
std::vector<TestResult> run_tests(const std::string& path, Session& session, const HostOptions& options,
                                  const std::string& filter = {});

/// The .tl files that `path` names: itself, or those in the folder and its subfolders, sorted. Throws Error
/// if there is no such file.
std::vector<std::string> program_files(const std::string& path);

}  // namespace tl

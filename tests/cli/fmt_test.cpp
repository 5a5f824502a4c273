// tl fmt: files, folders, standard input, --check.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "cli/program.h"

namespace tl::test {

namespace {

constexpr const char* kMessy = "main{print( 1 )}\n";
constexpr const char* kTidy = "main { print(1) }\n";

TEST(Fmt, RewritesFilesAndNamesThem) {
  const TempFolder folder;
  const std::string messy = write_file(folder / "messy.tl", kMessy);
  const std::string tidy = write_file(folder / "tidy.tl", kTidy);
  std::filesystem::permissions(messy, std::filesystem::perms::owner_all);
  const Output r = run_tl({"fmt", messy, tidy});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_EQ(r.out, messy + "\n");
  EXPECT_EQ(r.err, "");
  EXPECT_EQ(read_file(messy), kTidy);
  EXPECT_EQ(std::filesystem::status(messy).permissions(), std::filesystem::perms::owner_all);
  EXPECT_EQ(run_tl({"fmt", messy}).out, "");
}

TEST(Fmt, CheckWritesNothingAndFailsWhereAFileDiffers) {
  const TempFolder folder;
  const std::string messy = write_file(folder / "messy.tl", kMessy);
  const std::string tidy = write_file(folder / "tidy.tl", kTidy);
  const Output r = run_tl({"fmt", "--check", messy, tidy});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_EQ(r.out, messy + "\n");
  EXPECT_EQ(r.err, "tl: error: 1 file not in the canonical layout: tl fmt writes it\n");
  EXPECT_EQ(read_file(messy), kMessy);
  EXPECT_EQ(run_tl({"fmt", "--check", tidy}).exit_code, 0);
}

TEST(Fmt, AFolderStandsForItsPrograms) {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "inner");
  const std::string a = write_file(folder / "inner/a.tl", kMessy);
  const std::string b = write_file(folder / "b.tl", kMessy);
  write_file(folder / "c.txt", kMessy);
  EXPECT_EQ(run_tl({"fmt", folder.path()}).out, b + "\n" + a + "\n");
  EXPECT_EQ(read_file(a), kTidy);
  EXPECT_EQ(read_file(folder / "c.txt"), kMessy);
  std::filesystem::create_directory(folder / "empty");
  const Output r = run_tl({"fmt", folder / "empty"});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_NE(r.err.find("there is no .tl file in this folder"), std::string::npos) << r.err;
}

TEST(Fmt, StandardInputGoesToStandardOutput) {
  RunOptions options;
  options.input = kMessy;
  EXPECT_EQ(run_tl({"fmt", "-"}, options).out, kTidy);
  EXPECT_EQ(run_tl({"fmt", "--check", "-"}, options).exit_code, 1);
}

TEST(Fmt, WhatDoesNotParseIsLeftAloneAndTheRestIsFormatted) {
  const TempFolder folder;
  const std::string wrong = write_file(folder / "a.tl", "main { f( }\n");
  const std::string messy = write_file(folder / "b.tl", kMessy);
  const Output r = run_tl({"fmt", wrong, messy});
  EXPECT_EQ(r.exit_code, 1);
  EXPECT_EQ(r.out, messy + "\n");
  EXPECT_NE(r.err.find("a.tl:1:11: error: expected an expression"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("tl: error: 1 file left as written: not valid programs"), std::string::npos) << r.err;
  EXPECT_EQ(read_file(wrong), "main { f( }\n");
  EXPECT_EQ(run_tl({"fmt", folder / "missing.tl"}).exit_code, 1);
}

}  // namespace

}  // namespace tl::test

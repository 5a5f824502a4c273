#include "base/file.h"

#include <cstring>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "unit/formats/temp_folder.h"

namespace tl::test {
namespace {

namespace fs = std::filesystem;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

void write(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

TEST(AtomicFile, AppearsWhenItIsWhole) {
  const TempFolder folder;
  const std::string path = folder.file("out");
  write(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(file.size(), 3u);
    EXPECT_EQ(read_file(path), "old");
  }
  EXPECT_EQ(read_file(path), "old") << "without commit nothing changes";
  write(path, "new");
  EXPECT_EQ(read_file(path), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1)
      << "no partial file stays";
}

TEST(AtomicFile, KeepsSymbolicLinks) {
  const TempFolder folder;
  fs::create_directory(folder.file("elsewhere"));
  write(folder.file("elsewhere/real"), "old");
  fs::create_symlink("elsewhere/real", folder.file("link"));
  write(folder.file("link"), "new");
  EXPECT_TRUE(fs::is_symlink(folder.file("link")));
  EXPECT_EQ(read_file(folder.file("elsewhere/real")), "new");
}

TEST(AtomicFile, NeverReplacesADevice) {
  write("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  EXPECT_EQ(message_of([] { write("/dev/full", std::string(100, 'x')); }),
            "/dev/full: cannot write: No space left on device");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(AtomicFile, SaysWhatCannotBeCreated) {
  const TempFolder folder;
  EXPECT_EQ(message_of([&] { AtomicFile file(folder.path()); }),
            folder.path() + ": cannot create: it is a directory");
  EXPECT_EQ(message_of([&] { AtomicFile file(folder.file("no/such/folder")); }),
            folder.file("no/such/folder") + ": cannot create: No such file or directory");
}

TEST(MappedFile, HoldsTheBytesEitherWay) {
  const TempFolder folder;
  std::string text = "some bytes";
  text += '\0';
  write(folder.file("in"), text);
  for (const bool use_mmap : {true, false}) {
    const auto file = MappedFile::open(folder.file("in"), use_mmap);
    ASSERT_EQ(file->bytes().size(), text.size());
    EXPECT_EQ(std::memcmp(file->bytes().data(), text.data(), text.size()), 0);
  }
  write(folder.file("empty"), "");
  EXPECT_TRUE(MappedFile::open(folder.file("empty"))->bytes().empty());
}

TEST(MappedFile, SaysWhatCannotBeOpened) {
  const TempFolder folder;
  const auto refusal = [](const std::string& path) { return message_of([&] { MappedFile::open(path); }); };
  EXPECT_EQ(refusal(folder.path()), folder.path() + ": cannot open: it is a directory");
  EXPECT_EQ(refusal(folder.file("absent")),
            folder.file("absent") + ": cannot open: No such file or directory");
  const std::string special = ": cannot open: it is a pipe or a device, and only a file can be mapped";
  EXPECT_EQ(refusal("/dev/null"), "/dev/null" + special);
  ASSERT_EQ(::mkfifo(folder.file("pipe").c_str(), 0600), 0);
  EXPECT_EQ(refusal(folder.file("pipe")), folder.file("pipe") + special) << "and does not wait for a writer";
}

TEST(ReadFile, SaysWhatCannotBeRead) {
  const TempFolder folder;
  EXPECT_EQ(message_of([&] { read_file(folder.path()); }), folder.path() + ": cannot read: Is a directory");
  EXPECT_EQ(message_of([&] { read_file(folder.file("absent")); }),
            folder.file("absent") + ": cannot open: No such file or directory");
}

}  // namespace
}  // namespace tl::test

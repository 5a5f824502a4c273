// Recordings as files (.tlt): written as the run goes, read by mapping. docs/trace-format.md describes the
// bytes, tools/tlt.py reads and writes them in Python.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "inspect/recording.h"

namespace tl::inspect {

/// Writes a trace record by record. The file appears when it is whole: nothing is left of one without
/// finish().
class TraceWriter {
 public:
  TraceWriter(const std::string& path, const RunInfo& info);
  /// Appends a record, with its value where it has one.
  void write(const Record& record);
  /// Writes the end mark and gives the file its name.
  void finish();
  uint64_t bytes() const { return file_.size(); }

 private:
  void block(const char* kind, const void* data, size_t size);

  AtomicFile file_;
  size_t records_ = 0;
};

/// A whole recording as a file.
void write_trace(const std::string& path, const Recording& recording);

/// Maps a trace; values lie in the mapping, which they keep alive. Every checksum, name, type, shape and
/// number is checked. Throws FileError, with the byte offset, for a file that is no trace, damaged or cut
/// off.
Recording read_trace(const std::string& path);
/// The same of a file that is mapped already.
Recording read_trace(const std::shared_ptr<const MappedFile>& file);

}  // namespace tl::inspect

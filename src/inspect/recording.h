// A recording: what every named value of a run was.
//
// How the room fits together:
//
//   Recorder (here)   watches a Session and makes Records: name, op, inputs, statistics, values where asked
//   trace_file.h      a recording as a .tlt file, streamed out and mapped in; docs/trace-format.md
//   structure.h       what a record is for, told by the weights it reads: "blk.3.attn_q", whatever its name
//   prediction.h      how far rounding takes values apart, from what is seen of their inputs
//   perturb.h         the same measured: a run of the reference whose operations are disturbed by rounding
//   compare.h         two recordings side by side; the first divergence that rounding does not explain
//   operation.h       one operation with its inputs, taken out of a run: run again on any backend
//   rows.h, values.h  an operation on some of its rows; tensors as numbers, in any memory layout
//   bounds.h          how far an operation's result may be from the exact one, derived
//   audit.h           every operation of a run against its definition, as it happens
//   weights.h         the weights of a file against their definition, or against another file
//
// A Record says which records its operation read, with attributes and params. With values kept
// (RecorderOptions::keep) any operation of a run can be replayed from another run's inputs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/session.h"
#include "tensor/statistics.h"

namespace tl::inspect {

/// One value of a run.
struct Record {
  /// The path in the program, made unique: "forward/layer[3]/attention/scores"; later values of one path get
  /// ":2", ":3" … (the second `x` of a layer is "forward/layer[3]/x:2"). Values of later steps (Recorder::
  /// begin_step) start with "step[1]/". Numbers do not depend on fusion. Weights have their name in the file.
  std::string name;
  std::string op;            ///< its name in the op table, or what another tool calls it
  DType dtype = DType::f32;  ///< as it lay in memory: float64 for every float on the reference backend
  Shape shape = {};
  std::vector<int> inputs = {};         ///< numbers of the records that the operation read
  std::vector<std::string> fuses = {};  ///< names of the values that a fused operation kept to itself
  bool is_weight = false;  ///< of the model file; matrices have no statistics (see `tl inspect --stats`)
  double weight_rms = 0;   ///< root mean square of a matrix of weights, from a sample of its rows; else 0
  std::string place = {};  ///< "models/llama.tl:27:13"; "" where nothing in a program made it
  Attrs attrs = {};        ///< of the executed operation; not in files
  Params params = {};      ///< as the kernel was given them
  std::optional<TensorStatistics> statistics = {};
  Tensor value = {};  ///< contiguous; empty unless it was kept

  /// Whether it was there before the run: a weight, token ids, the memory of a cache.
  bool is_leaf() const { return op == "constant"; }
};

/// What was run.
struct RunInfo {
  std::string tool;                  ///< "tl 0.1.0", "llama.cpp", "transformers"
  std::string program, model;        ///< paths
  std::string device, activations;   ///< "cpu", "q8"
  std::vector<int32_t> tokens = {};  ///< fed to the model
};

/// Records in the order in which they were made: inputs before users.
struct Recording {
  RunInfo info;
  std::vector<Record> records;

  /// The record of that name, or null.
  const Record* find(std::string_view name) const;
};

/// Whether `name` matches a pattern of plain text, `*` (anything, also nothing) and `?` (one character).
bool matches(std::string_view pattern, std::string_view name);

struct RecorderOptions {
  bool statistics = true;
  std::vector<std::string> keep = {};  ///< patterns of the names whose values are kept
  /// Given each record once it is whole, its value included; the recorder then keeps the record without the
  /// value. For writing to files as the run goes.
  std::function<void(const Record&)> sink = {};
};

/// Records what a session runs, from set_observer(&recorder) on. Changes no bit of it.
class Recorder : public Observer {
 public:
  /// Statistics are computed on `pool`; that of the watched session is idle when it is needed here.
  Recorder(ThreadPool& pool, RecorderOptions options);

  /// What follows belongs to step `number` (0 at first) of a run that feeds a model bit by bit.
  void begin_step(int number);

  const std::vector<Record>& records() const { return records_; }
  /// Hands out all records so far.
  std::vector<Record> take() { return std::move(records_); }

  void on_run(const graph::Plan& plan, const graph::Trace& trace) override;
  void on_step(const ExecutedStep& step) override;

 private:
  /// A computed node, recognised when a later run starts from it.
  struct Known {
    std::weak_ptr<Storage> storage;
    int64_t offset;
    int record;
  };

  std::string unique(std::string path);
  int leaf(const graph::Node& node, const graph::Step& reader, size_t input);
  std::optional<TensorStatistics> statistics(const ExecutedStep& step, const Record& record);
  bool is_kept(const Record& record) const;
  int add(Record record, const graph::Node& node, const Tensor& value);

  ThreadPool& pool_;
  RecorderOptions options_;
  std::vector<Record> records_;
  std::string prefix_;
  std::unordered_map<std::string, int> occurrences_;  ///< of paths in this step
  std::unordered_map<const graph::Node*, Known> known_;
  std::vector<std::string> names_;  ///< of this run's values
  std::vector<int> numbers_;        ///< their records, -1: none yet
};

}  // namespace tl::inspect

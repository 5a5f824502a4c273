// Audits find what is wrong with a kernel, and nothing where all is well.
#include "inspect/audit.h"

#include <gtest/gtest.h>

#include <map>

#include "inspect/faulty.h"
#include "inspect/rows.h"
#include "inspect/values.h"

namespace tl::test {
namespace {

using inspect::AuditOptions;
using inspect::Auditor;
using inspect::OperationAudit;

const std::vector<int32_t> kIds{1, 17, 300, 42, 5, 599, 8, 77, 200};

std::vector<OperationAudit> audited(const Backend& backend, AuditOptions options = {}) {
  ModelOn model(backend);
  Auditor auditor(model.session(), reference_backend(), std::move(options));
  model.watched(auditor, kIds);
  return auditor.operations();
}

/// The faults of that operation in a run with one wrong kernel. Others have none, unless they are given
/// values that overflow (`garbage`).
std::string faults_of(Op op, void (*run)(const KernelArgs&), bool garbage) {
  const FaultyBackend backend(op, run);
  std::string text;
  for (const OperationAudit& o : audited(backend))
    for (const std::string& fault : o.faults) {
      if (o.op != name(op)) {
        EXPECT_TRUE(garbage) << o.name << ": " << fault;
        continue;
      }
      text += o.name + ": " + fault + "\n";
    }
  return text;
}

void expect_fault(Op op, void (*run)(const KernelArgs&), const std::string& part, bool garbage = false) {
  const std::string faults = faults_of(op, run, garbage);
  EXPECT_NE(faults.find(part), std::string::npos) << "expected: " << part << "\nfound: " << faults;
}

TEST(Audit, HealthyKernelsHaveNoFaults) {
  const auto operations = audited(cpu_backend());
  std::map<std::string, int> seen;
  for (const OperationAudit& o : operations) {
    ++seen[o.op];
    EXPECT_TRUE(o.faults.empty()) << o.name << ": " << o.faults.front();
    EXPECT_LE(o.own.ratio, 1) << o.name;
  }
  for (const char* op :
       {"embedding", "linear", "rms_norm", "rope", "attention", "cache_append", "swiglu", "add"})
    EXPECT_GE(seen[op], 1) << op;
  EXPECT_EQ(seen["linear"], 3 * 7 + 1);
}

TEST(Audit, FindsElementsThatAreNotWritten) {
  // A row of the result for each thread there should have been: what the case is about.
  expect_fault(
      Op::rms_norm,
      [](const KernelArgs& args) {
        const Tensor whole(args.out.dtype(), args.out.shape());
        right(Op::rms_norm, {args.in, whole, args.attrs, args.params, args.pool, args.activations});
        const int64_t rows = args.out.shape()[0], width = args.out.shape().back();
        for (int64_t i = 0; i < rows * width; ++i)
          if (i % rows == 0) store_double(args.out, i, load_double(whole, i));
      },
      "leaves elements unwritten", true);
}

TEST(Audit, FindsWrongValues) {
  expect_fault(
      Op::rope,
      [](const KernelArgs& args) {
        right(Op::rope, args);
        store_double(args.out, 5, load_double(args.out, 5) + 1e-3);
      },
      "wrong on its own inputs");
}

TEST(Audit, FindsWhatDependsOnThreads) {
  expect_fault(
      Op::add,
      [](const KernelArgs& args) {
        right(Op::add, args);
        if (args.pool.size() == 4) store_double(args.out, 1, 0.5);
      },
      "gives other bits when repeated with 4 threads");
}

TEST(Audit, FindsStridesThatAreIgnored) {
  expect_fault(
      Op::swiglu,
      [](const KernelArgs& args) {
        std::vector<Tensor> in;
        for (const Tensor& t : args.in) in.push_back(t.view(t.shape(), row_major_strides(t.shape())));
        right(Op::swiglu, {in, args.out, args.attrs, args.params, args.pool, args.activations});
      },
      "inputs wrongly");
}

TEST(Audit, FindsRowsThatDependOnOthers) {
  expect_fault(
      Op::rms_norm,
      [](const KernelArgs& args) {
        right(Op::rms_norm, args);
        if (args.out.shape()[0] > 8) store_double(args.out, 0, load_double(args.out, 0) * (1 + 0x1p-23));
      },
      "row 0 of 9 differs from the same row computed alone");
}

TEST(Audit, FindsThresholdsThatTheRunDidNotReach) {
  expect_fault(
      Op::linear,
      [](const KernelArgs& args) {
        right(Op::linear, args);
        if (args.out.shape()[0] > 16) store_double(args.out, 0, load_double(args.out, 0) * (1 + 0x1p-22));
      },
      "row 0 comes out otherwise when there are 17 rows");
}

TEST(Audit, TellsLocalFromInheritedErrors) {
  ModelOn oracle(reference_backend());
  inspect::Recorder recorder(oracle.session().pool(), {.statistics = false, .keep = {"*"}});
  oracle.watched(recorder, kIds);
  const inspect::Recording reference{{}, recorder.take()};
  AuditOptions options;
  options.reference = &reference;
  const FaultyBackend backend(Op::embedding, [](const KernelArgs& args) {
    right(Op::embedding, args);
    for (int64_t i = 0; i < args.out.elements(); ++i) store_double(args.out, i, 2 * load_double(args.out, i));
  });
  for (const OperationAudit& o : audited(backend, options)) {
    ASSERT_TRUE(o.inherited) << o.name;
    if (o.name == "forward/x") {
      EXPECT_GT(o.own.ratio, 1);
      EXPECT_GT(o.healthy->ratio, 1);
      EXPECT_NEAR(o.inherited->nmse, 1, 1e-3);
    } else {
      EXPECT_LE(o.own.ratio, 1) << o.name;
      if (o.healthy) {
        EXPECT_LE(o.healthy->ratio, 1) << o.name;
      }
    }
    if (o.name == "forward/layer[0]/x") {
      EXPECT_GT(o.inherited->nmse, 0.01);
    }
  }
}

TEST(Rows, AreTheRowsOfTheWhole) {
  ModelOn model(cpu_backend(), graph::PassOptions::none());
  struct Watcher : Observer {
    explicit Watcher(Session& of) : session(of) {}
    void on_step(const ExecutedStep& step) override {
      const inspect::Operation o = inspect::operation_of(step, session);
      if (is_view(o.op)) return;
      const int64_t n = inspect::row_count(o);
      if (n < 3) return;
      ++seen[o.op];
      const auto part = inspect::rows_of(o, 1, 2);
      const Tensor result = inspect::run(session.backend(), part.operation, session.pool());
      const auto error = inspect::difference(inspect::part_of(step.output, part.axis, 1, 2), result);
      EXPECT_LT(error.relative(), 1e-6) << name(o.op);
    }
    Session& session;
    std::map<Op, int> seen;
  } watcher(model.session());
  model.watched(watcher, kIds);
  for (const Op op : {Op::linear, Op::rms_norm, Op::rope, Op::contract, Op::softmax, Op::embedding, Op::add})
    EXPECT_GE(watcher.seen[op], 1) << name(op);
}

}  // namespace
}  // namespace tl::test

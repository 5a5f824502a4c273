#include "formats/quantize.h"

#include <cstring>

#include <fmt/format.h>

#include "base/thread_pool.h"
#include "formats/rope_style.h"
#include "formats/row_writer.h"
#include "tensor/blocks.h"

namespace tl {

namespace {

/// Where each row of Q and K comes from when halves (i, i + n/2) become pairs (2i, 2i + 1); the identity
/// elsewhere.
class RopeRows {
 public:
  explicit RopeRows(const ModelFile& model) {
    const std::string architecture = model.architecture();
    const bool differs =
        gguf_rope_style(architecture) == "norm" && model.get_string(kRopeStyleKey, "norm") == "neox";
    if (!differs) return;
    const int64_t heads = model.get_int(architecture + ".attention.head_count");
    const int64_t hidden = model.get_int(architecture + ".embedding_length");
    head_dim_ = model.get_int(architecture + ".attention.key_length", hidden / heads);
    rotated_ = model.get_int(architecture + ".rope.dimension_count", head_dim_);
  }
  bool active() const { return head_dim_ != 0; }
  bool applies_to(const std::string& name) const {
    return active() && name.starts_with("blk.") &&
           (name.find(".attn_q.") != std::string::npos || name.find(".attn_k.") != std::string::npos);
  }
  int64_t source(int64_t row) const {
    const int64_t in_head = row % head_dim_;
    if (in_head >= rotated_) return row;
    return row - in_head + in_head / 2 + in_head % 2 * (rotated_ / 2);
  }

 private:
  int64_t head_dim_ = 0, rotated_ = 0;
};

struct Job {
  const TensorEntry* from;
  DType type;
};

class Quantiser {
 public:
  Quantiser(const ModelFile& source, const std::string& out_path, DType type, const QuantizeOptions& options,
            const std::function<void(const QuantizeProgress&)>& progress)
      : source_(source),
        progress_(progress),
        writer_(out_path),
        pool_(options.n_threads),
        rope_(source),
        type_(type) {
    policy_ = {type, options.output_type, options.pure, source.find_tensor("output.weight") == nullptr};
    total_.total_bytes = source.tensor_bytes();
  }

  QuantizeResult run() {
    copy_metadata();
    std::vector<Job> jobs;
    for (const auto& t : source_.tensors()) jobs.push_back(plan(t));
    for (const Job& job : jobs) write(job);
    writer_.finish();
    result_.source_bytes = total_.total_bytes;
    return result_;
  }

 private:
  void tell(const std::string& tensor, const std::string& message = {}) {
    if (!progress_) return;
    total_.tensor = tensor;
    total_.message = message;
    progress_(total_);
  }

  void copy_metadata() {
    for (const auto& [key, value, offset] : source_.metadata())
      if (key != kRopeStyleKey || !is_default_style()) writer_.set(key, value);
    writer_.set("general.file_type", MetaValue::of_u32(gguf_file_type(type_)));
    if (is_quantised(type_)) writer_.set("general.quantization_version", MetaValue::of_u32(2));
    if (!source_.has("tokenizer.ggml.tokens") && !source_.tokenizer_json().empty())
      tell("", "the tokenizer is not part of the GGUF file: keep " + source_.tokenizer_json() + " beside it");
  }

  /// Whether the written file's RoPE order is the one that readers assume anyway.
  bool is_default_style() const {
    return rope_.active() || source_.get_string(kRopeStyleKey, "") == gguf_rope_style(source_.architecture());
  }

  Job plan(const TensorEntry& t) {
    std::string message;
    const bool kept = !is_float(t.dtype) && !is_quantised(t.dtype);  // integers mean what they are
    const DType type = kept ? t.dtype : policy_.choose(t.name, t.shape, message);
    if (info(type).gguf_type < 0)
      throw source_.error(t, fmt::format("GGUF has no element type for {}", name(type)));
    if (t.shape.rank() > 4) throw source_.error(t, "GGUF has at most 4 dimensions");
    if (!message.empty()) tell(t.name, message);
    writer_.add_tensor(t.name, type, t.shape);
    result_.result_bytes += static_cast<uint64_t>(bytes_of(type, t.shape.elements()));
    return {&t, type};
  }

  void write(const Job& job) {
    const TensorEntry& t = *job.from;
    const bool permuted = rope_.applies_to(t.name);
    // A bias is permuted element by element, so that its elements are its rows.
    const int64_t width = t.shape.rank() == 0 || (permuted && t.shape.rank() == 1) ? 1 : t.shape.back();
    const int64_t rows = t.shape.elements() / width;
    const int64_t from_bytes = bytes_of(t.dtype, width);
    const auto data = source_.tensor_bytes(t);
    const auto make = [&](int64_t row, std::byte* out) {
      const int64_t from = permuted ? rope_.source(row) : row;
      const std::byte* bytes = data.data() + from * from_bytes;
      if (job.type == t.dtype) {
        std::memcpy(out, bytes, static_cast<size_t>(from_bytes));
        return;
      }
      thread_local std::vector<float> values;
      values.resize(static_cast<size_t>(width));
      decode_row(t.dtype, bytes, values.data(), width);
      try {
        encode_row(job.type, values.data(), out, width);
      } catch (const Error& e) {
        throw source_.error(t, fmt::format("row {}: {}", from, e.what()));
      }
    };
    tell(t.name);
    write_rows(writer_, pool_, rows, bytes_of(job.type, width), make, [&](int64_t n) {
      total_.done_bytes += static_cast<uint64_t>(n * from_bytes);
      tell(t.name);
    });
  }

  const ModelFile& source_;
  const std::function<void(const QuantizeProgress&)>& progress_;
  GgufWriter writer_;
  ThreadPool pool_;
  RopeRows rope_;
  DType type_;
  TypePolicy policy_{};
  QuantizeProgress total_;
  QuantizeResult result_;
};

}  // namespace

QuantizeResult quantize_model(const ModelFile& source, const std::string& out_path, DType type,
                              const QuantizeOptions& options,
                              const std::function<void(const QuantizeProgress&)>& progress) {
  require_encodable(type);
  if (options.output_type) require_encodable(*options.output_type);
  return Quantiser(source, out_path, type, options, progress).run();
}

}  // namespace tl

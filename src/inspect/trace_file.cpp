#include "inspect/trace_file.h"

#include <zlib.h>

#include <array>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/error.h"

namespace tl::inspect {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view kMagic =
    "TensorLogicTrace";  // 16 bytes, so that blocks are aligned from the start
constexpr int kVersion = 1;
constexpr size_t kAlignment = 16;

/// What stands before each block's payload, which is padded with zeros to a multiple of 16 bytes.
struct BlockHeader {
  std::array<char, 4> kind;
  uint32_t crc;
  uint64_t size;
};
static_assert(sizeof(BlockHeader) == kAlignment);

uint32_t crc_of(const void* data, size_t size) {
  const auto* bytes = static_cast<const Bytef*>(data);
  return static_cast<uint32_t>(crc32_z(crc32_z(0, nullptr, 0), bytes, size));
}

/// The numbers of TensorStatistics, once for writing and reading.
template <class S, class Visit>
void each_number(S& s, Visit visit) {
  visit("count", s.count), visit("nan", s.nan), visit("inf", s.inf), visit("zero", s.zero);
  visit("denormal", s.denormal), visit("above_f16", s.above_f16), visit("below_f16", s.below_f16);
  visit("above_bf16", s.above_bf16), visit("below_bf16", s.below_bf16);
  visit("min", s.min), visit("max", s.max), visit("mean", s.mean), visit("std", s.std);
}

ordered_json to_json(const TensorStatistics& s) {
  ordered_json j;
  each_number(s, [&](const char* key, const auto& number) { j[key] = number; });
  j["rms"] = s.rms();
  j["checksum"] = fmt::format("{:016x}", s.checksum);
  return j;
}

ordered_json to_json(const Record& r) {
  ordered_json j = {{"name", r.name},
                    {"op", r.op},
                    {"dtype", name(r.dtype)},
                    {"shape", std::vector<int64_t>(r.shape.begin(), r.shape.end())},
                    {"inputs", r.inputs}};
  if (!r.fuses.empty()) j["fuses"] = r.fuses;
  if (r.is_weight) j["weight"] = true;
  if (r.weight_rms > 0) j["weight_rms"] = r.weight_rms;
  if (!r.place.empty()) j["place"] = r.place;
  if (r.statistics) j["statistics"] = to_json(*r.statistics);
  if (r.value) j["values"] = bytes_of(r.value.dtype(), r.value.elements());
  return j;
}

std::string dumped(const ordered_json& j) {
  return j.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

TraceWriter::TraceWriter(const std::string& path, const RunInfo& info) : file_(path) {
  file_.write(std::string(kMagic));
  const std::string text = dumped({{"version", kVersion},
                                   {"tool", info.tool},
                                   {"program", info.program},
                                   {"model", info.model},
                                   {"device", info.device},
                                   {"activations", info.activations},
                                   {"tokens", info.tokens}});
  block("INFO", text.data(), text.size());
}

void TraceWriter::block(const char* kind, const void* data, size_t size) {
  BlockHeader header{{}, crc_of(data, size), size};
  std::memcpy(header.kind.data(), kind, 4);
  file_.write(&header, sizeof header);
  file_.write(data, size);
  constexpr std::array<char, kAlignment> kZeros{};
  file_.write(kZeros.data(), (kAlignment - size % kAlignment) % kAlignment);
}

void TraceWriter::write(const Record& record) {
  const std::string text = dumped(to_json(record));
  block("RECD", text.data(), text.size());
  if (record.value) {
    TL_CHECK(record.value.is_contiguous(), "kept values are contiguous");
    block("DATA", record.value.bytes(),
          static_cast<size_t>(bytes_of(record.value.dtype(), record.value.elements())));
  }
  ++records_;
}

void TraceWriter::finish() {
  const std::string text = dumped({{"records", records_}});
  block("END ", text.data(), text.size());
  file_.commit();
}

void write_trace(const std::string& path, const Recording& recording) {
  TraceWriter writer(path, recording.info);
  for (const Record& r : recording.records) writer.write(r);
  writer.finish();
}

namespace {

class Reader {
 public:
  explicit Reader(std::shared_ptr<const MappedFile> file) : file_(std::move(file)), bytes_(file_->bytes()) {}

  Recording read() {
    if (bytes_.size() < kMagic.size() || std::memcmp(bytes_.data(), kMagic.data(), kMagic.size()) != 0)
      fail("this is no trace file (those of `tl trace` begin with 'TensorLogicTrace')", 0);
    at_ = kMagic.size();
    storage_ = Storage::view(bytes_.data(), bytes_.size(), file_);
    Recording recording;
    read_info(recording.info, next("INFO"));
    for (;;) {
      const Block block = next();
      if (block.kind == "END ") {
        if (integer(parse(block), "records") != static_cast<int64_t>(recording.records.size()))
          fail("the end mark counts other records than there are", block.offset);
        if (at_ != bytes_.size()) fail("bytes follow the end mark", at_);
        return recording;
      }
      if (block.kind != "RECD")
        fail(fmt::format("unexpected block '{}'", printable(block.kind)), block.offset);
      recording.records.push_back(read_record(block, recording));
    }
  }

 private:
  struct Block {
    std::string kind;
    std::span<const std::byte> payload;
    uint64_t offset;  ///< of the header
  };

  [[noreturn]] void fail(const std::string& message, uint64_t offset, const std::string& where = "") const {
    throw FileError(file_->path(), where, message, offset);
  }

  static std::string printable(std::string text) {
    for (char& c : text)
      if (c < 0x20 || c > 0x7e) c = '?';
    return text;
  }

  Block next() {
    if (bytes_.size() - at_ < sizeof(BlockHeader)) fail("the trace is cut off: its end mark is missing", at_);
    BlockHeader header;
    std::memcpy(&header, bytes_.data() + at_, sizeof header);
    Block block{{header.kind.data(), header.kind.size()}, {}, at_};
    at_ += sizeof header;
    if (header.size > bytes_.size() - at_)
      fail(fmt::format("the trace is cut off: a block of {} bytes, and {} are left", header.size,
                       bytes_.size() - at_),
           block.offset);
    block.payload = bytes_.subspan(at_, header.size);
    if (crc_of(block.payload.data(), block.payload.size()) != header.crc)
      fail(fmt::format("block '{}' is damaged: its checksum differs", printable(block.kind)), block.offset);
    const size_t padding = (kAlignment - header.size % kAlignment) % kAlignment;
    at_ += header.size;
    if (padding > bytes_.size() - at_) fail("the trace is cut off: its end mark is missing", at_);
    at_ += padding;
    return block;
  }

  Block next(const char* kind) {
    Block block = next();
    if (block.kind != kind)
      fail(fmt::format("expected a block '{}', found '{}'", kind, printable(block.kind)), block.offset);
    return block;
  }

  json parse(const Block& block) {
    offset_ = block.offset;
    const auto* text = reinterpret_cast<const char*>(block.payload.data());
    json j = json::parse(text, text + block.payload.size(), nullptr, false);
    if (!j.is_object())
      fail(fmt::format("block '{}' holds no JSON object", printable(block.kind)), block.offset);
    return j;
  }

  const json& member(const json& j, const char* key, bool (json::*is)() const noexcept,
                     const char* what) const {
    const auto at = j.find(key);
    if (at == j.end() || !((*at).*is)()) fail(fmt::format("'{}' must be {}", key, what), offset_);
    return *at;
  }

  std::string text(const json& j, const char* key, bool required = true) const {
    if (!required && !j.contains(key)) return {};
    return member(j, key, &json::is_string, "a string").get<std::string>();
  }

  int64_t integer(const json& j, const char* key) const {
    return member(j, key, &json::is_number_integer, "an integer").get<int64_t>();
  }

  std::vector<int64_t> integers(const json& j, const char* key) const {
    std::vector<int64_t> values;
    for (const json& item : member(j, key, &json::is_array, "a list of integers")) {
      if (!item.is_number_integer()) fail(fmt::format("'{}' must be a list of integers", key), offset_);
      values.push_back(item.get<int64_t>());
    }
    return values;
  }

  void read_info(RunInfo& info, const Block& block) {
    const json j = parse(block);
    if (const int64_t version = integer(j, "version"); version != kVersion)
      fail(fmt::format("version {} of the trace format; this program reads version {}", version, kVersion),
           block.offset);
    info.tool = text(j, "tool", false);
    info.program = text(j, "program", false);
    info.model = text(j, "model", false);
    info.device = text(j, "device", false);
    info.activations = text(j, "activations", false);
    if (!j.contains("tokens")) return;
    for (const int64_t id : integers(j, "tokens")) {
      if (id < 0 || id > INT32_MAX) fail(fmt::format("{} is no token id", id), block.offset);
      info.tokens.push_back(static_cast<int32_t>(id));
    }
  }

  Shape shape(const json& j, const std::string& name) const {
    Shape shape;
    int64_t elements = 1;
    for (const int64_t extent : integers(j, "shape")) {
      const auto product = checked_mul(elements, std::max<int64_t>(extent, 1));
      if (extent < 0 || !product || *product > INT64_MAX / 16 || shape.rank() == kMaxRank)
        fail(fmt::format("the shape must have at most {} extents of moderate size", kMaxRank), offset_, name);
      elements = *product;
      shape.push_back(extent);
    }
    return shape;
  }

  Record read_record(const Block& block, const Recording& before) {
    const json j = parse(block);
    Record r;
    r.name = text(j, "name");
    if (!names_.insert(r.name).second) fail("a second value of this name", block.offset, r.name);
    r.op = text(j, "op");
    r.place = text(j, "place", false);
    const auto dtype = dtype_from_name(text(j, "dtype"));
    if (!dtype) fail(fmt::format("unknown element type '{}'", text(j, "dtype")), block.offset, r.name);
    r.dtype = *dtype;
    r.shape = shape(j, r.name);
    for (const int64_t input : integers(j, "inputs")) {
      if (input < 0 || input >= static_cast<int64_t>(before.records.size()))
        fail(fmt::format("reads value {}, which does not come before it", input), block.offset, r.name);
      r.inputs.push_back(static_cast<int>(input));
    }
    if (j.contains("fuses"))
      for (const json& item : member(j, "fuses", &json::is_array, "a list of names")) {
        if (!item.is_string()) fail("'fuses' must be a list of names", block.offset, r.name);
        r.fuses.push_back(item.get<std::string>());
      }
    if (j.contains("weight"))
      r.is_weight = member(j, "weight", &json::is_boolean, "true or false").get<bool>();
    if (j.contains("weight_rms"))
      r.weight_rms = member(j, "weight_rms", &json::is_number, "a number").get<double>();
    if (j.contains("statistics")) r.statistics = read_statistics(j["statistics"]);
    if (j.contains("values")) r.value = read_value(r, integer(j, "values"));
    return r;
  }

  TensorStatistics read_statistics(const json& j) const {
    if (!j.is_object()) fail("'statistics' must be an object", offset_);
    TensorStatistics s;
    each_number(s, [&](const char* key, auto& number) {
      const auto at = j.find(key);
      if (at == j.end()) return;  // another tool may know fewer
      if constexpr (std::is_same_v<std::remove_reference_t<decltype(number)>, double>) {
        if (!at->is_number() && !at->is_null()) fail(fmt::format("'{}' must be a number", key), offset_);
        number = at->is_null() ? NAN : at->template get<double>();  // JSON writes what is not finite as null
      } else {
        number = integer(j, key);
      }
    });
    const std::string sum = text(j, "checksum", false);
    s.checksum = std::strtoull(sum.c_str(), nullptr, 16);
    return s;
  }

  Tensor read_value(const Record& r, int64_t bytes) {
    const auto& type = info(r.dtype);
    const bool whole =
        r.shape.elements() % type.block_elements == 0 &&
        (type.block_elements == 1 || (r.shape.rank() > 0 && r.shape.back() % type.block_elements == 0));
    if (!whole || bytes != bytes_of(r.dtype, r.shape.elements()))
      fail(fmt::format("{} bytes of values do not fit {} {}", bytes, name(r.dtype), to_string(r.shape)),
           offset_, r.name);
    const Block block = next("DATA");
    if (block.payload.size() != static_cast<size_t>(bytes))
      fail(fmt::format("{} bytes of values, and {} were announced", block.payload.size(), bytes),
           block.offset, r.name);
    return {r.dtype, r.shape, storage_, static_cast<int64_t>(block.offset + sizeof(BlockHeader))};
  }

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> bytes_;
  std::shared_ptr<Storage> storage_;
  uint64_t at_ = 0, offset_ = 0;  ///< of the next block; of the one whose JSON is being read
  std::unordered_set<std::string> names_;
};

}  // namespace

Recording read_trace(const std::shared_ptr<const MappedFile>& file) { return Reader(file).read(); }

Recording read_trace(const std::string& path) { return read_trace(MappedFile::open(path)); }

}  // namespace tl::inspect

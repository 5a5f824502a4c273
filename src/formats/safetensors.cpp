#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include <fmt/format.h>

#include "base/checked.h"
#include "formats/json_file.h"

namespace tl {

using nlohmann::json;

namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit

struct TypeRow {
  std::string_view name;
  DType dtype;
};
constexpr TypeRow kTypes[] = {{"F32", DType::f32}, {"F16", DType::f16},     {"BF16", DType::bf16},
                              {"F64", DType::f64}, {"I8", DType::i8},       {"I32", DType::i32},
                              {"I64", DType::i64}, {"BOOL", DType::boolean}};

class Parser {
 public:
  explicit Parser(std::shared_ptr<const MappedFile> file) : file_(std::move(file)), bytes_(file_->bytes()) {}

  ModelParts parse() {
    parts_.path = file_->path();
    parts_.container = "safetensors";
    parts_.files = {file_};
    std::vector<std::string> names;
    const json header = read_header(names);
    place_entries(names);
    for (const std::string& name : names) {
      if (name == "__metadata__")
        read_metadata(header.at(name));
      else
        read_tensor(name, header.at(name));
    }
    check_overlap();
    return std::move(parts_);
  }

 private:
  [[noreturn]] void fail(const std::string& where, const std::string& message,
                         std::optional<uint64_t> at) const {
    throw FileError(file_->path(), where, message, at);
  }
  [[noreturn]] void fail(const TensorEntry& t, const std::string& message) const {
    fail("tensor '" + t.name + "'", message, t.entry ? std::optional(t.entry) : std::nullopt);
  }

  json read_header(std::vector<std::string>& names) {
    uint64_t length = 0;
    if (bytes_.size() < sizeof length)
      fail("", fmt::format("not a safetensors file: it has {} bytes", bytes_.size()), std::nullopt);
    std::memcpy(&length, bytes_.data(), sizeof length);
    const uint64_t left = bytes_.size() - sizeof length;
    if (length > left)
      fail("",
           fmt::format(
               "the header claims {} bytes, but only {} follow: not a safetensors file, or a truncated one",
               length, left),
           0);
    if (length > kMaxHeader)
      fail("", fmt::format("the header claims {} bytes; at most {} are allowed", length, kMaxHeader), 0);
    data_start_ = sizeof length + length;
    text_ = std::string_view(reinterpret_cast<const char*>(bytes_.data()) + sizeof length, length);
    std::unordered_set<std::string> seen;
    json header = parse_json(file_->path(), text_, sizeof length, [&](const std::string& key) {
      if (!seen.insert(key).second) fail("tensor '" + key + "'", "this tensor appears twice", std::nullopt);
      names.push_back(key);
    });
    if (!header.is_object()) fail("", "the header is no JSON object", sizeof length);
    return header;
  }

  /// Where each name stands in the header. Names written with escapes are not found, and from there on none
  /// is.
  void place_entries(const std::vector<std::string>& names) {
    size_t at = 0;
    for (const std::string& name : names) {
      if (at != std::string_view::npos) at = text_.find('"' + name + '"', at);
      places_.push_back(at == std::string_view::npos ? 0 : at + sizeof(uint64_t));
    }
  }

  void read_metadata(const json& entries) {
    ++index_;
    if (!entries.is_object())
      fail("__metadata__", "expected an object, found " + describe(entries), std::nullopt);
    for (const auto& [key, value] : entries.items()) {
      if (!value.is_string())
        fail("__metadata__." + key, "expected a string, found " + describe(value), std::nullopt);
      parts_.metadata.push_back({key, MetaValue::of_string(value.get<std::string>()), 0});
    }
  }

  void read_tensor(const std::string& name, const json& entry) {
    TensorEntry t;
    t.name = name;
    t.entry = places_[index_++];
    if (name.empty()) fail(t, "its name is empty");
    for (const char c : name)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) fail(t, "its name contains a control character");
    if (!entry.is_object()) fail(t, "expected an object, found " + describe(entry));
    for (const char* key : {"dtype", "shape", "data_offsets"})
      if (!entry.contains(key)) fail(t, fmt::format("\"{}\" is missing", key));
    read_dtype(t, entry.at("dtype"));
    read_shape(t, entry.at("shape"));
    read_offsets(t, entry.at("data_offsets"));
    parts_.tensors.push_back(std::move(t));
  }

  void read_dtype(TensorEntry& t, const json& value) const {
    for (const auto& [name, dtype] : kTypes) {
      if (value != name) continue;
      t.dtype = dtype;
      return;
    }
    fail(t,
         "dtype " + describe(value) + " is not supported (F32, F16, BF16, F64, I8, I32, I64 and BOOL are)");
  }

  void read_shape(TensorEntry& t, const json& value) const {
    if (!value.is_array()) fail(t, "\"shape\" is " + describe(value) + " instead of an array");
    if (value.size() > kMaxRank)
      fail(t, fmt::format("{} dimensions; at most {} are allowed", value.size(), kMaxRank));
    std::optional<int64_t> elements = 1;
    for (const auto& extent : value) {
      if (!extent.is_number_unsigned() || extent.get<uint64_t>() == 0)
        fail(t, "the dimension " + describe(extent) + " is no positive integer");
      const auto n = extent.get<uint64_t>();
      elements = n <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                     ? checked_mul(*elements, static_cast<int64_t>(n))
                     : std::nullopt;
      const auto bytes = elements ? checked_mul(*elements, info(t.dtype).block_bytes) : std::nullopt;
      if (!bytes) fail(t, fmt::format("the dimension {}: the number of elements overflows", n));
      t.shape.push_back(static_cast<int64_t>(n));
    }
    t.bytes = static_cast<uint64_t>(*elements * info(t.dtype).block_bytes);
  }

  void read_offsets(TensorEntry& t, const json& value) const {
    if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
        !value[1].is_number_unsigned())
      fail(t, "\"data_offsets\" are no pair of positive integers");
    const auto begin = value[0].get<uint64_t>(), end = value[1].get<uint64_t>();
    const uint64_t size = bytes_.size() - data_start_;
    if (end < begin) fail(t, fmt::format("its data ends at {} before it begins at {}", end, begin));
    if (end > size)
      fail(t,
           fmt::format(
               "its data (bytes {} to {} of the data) lies past the end of the file, which has {} bytes of "
               "data: the file is truncated or damaged, fetch it again",
               begin, end, size));
    if (end - begin != t.bytes)
      fail(t, fmt::format("it has {} bytes of data, but {} of {} need {}", end - begin, to_string(t.shape),
                          info(t.dtype).gguf_name, t.bytes));
    t.offset = data_start_ + begin;
  }

  void check_overlap() const {
    std::vector<const TensorEntry*> order;
    for (const auto& t : parts_.tensors) order.push_back(&t);
    std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < order.size(); ++i)
      if (order[i]->offset < order[i - 1]->offset + order[i - 1]->bytes)
        fail(*order[i], fmt::format("its data overlaps that of tensor '{}'", order[i - 1]->name));
  }

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> bytes_;
  std::string_view text_;
  uint64_t data_start_ = 0;
  std::vector<uint64_t> places_;
  size_t index_ = 0;
  ModelParts parts_;
};

}  // namespace

ModelParts read_safetensors(std::shared_ptr<const MappedFile> file) {
  return Parser(std::move(file)).parse();
}

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                    [&, &t = tensor](const TypeRow& row) { return row.dtype == t.dtype(); });
    TL_CHECK(type != std::end(kTypes) && tensor.is_contiguous(),
             "safetensors holds contiguous tensors of plain types");
    const auto bytes = static_cast<uint64_t>(bytes_of(tensor.dtype(), tensor.elements()));
    header[name] = {{"dtype", type->name},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // so that the data is aligned
  const uint64_t length = text.size();
  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text);
  for (const auto& [name, tensor] : tensors)
    file.write(tensor.bytes(), static_cast<size_t>(bytes_of(tensor.dtype(), tensor.elements())));
  file.commit();
}

}  // namespace tl

#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <limits>
#include <unordered_map>

#include <fmt/format.h>

#include "base/checked.h"
#include "formats/rope_style.h"

namespace tl {

namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMaxName = 65535;  // the specification's limit for keys
constexpr uint32_t kDefaultAlignment = 32;

uint64_t width(MetaType type) {
  switch (type) {
    case MetaType::u8:
    case MetaType::i8:
    case MetaType::boolean:
      return 1;
    case MetaType::u16:
    case MetaType::i16:
      return 2;
    case MetaType::u32:
    case MetaType::i32:
    case MetaType::f32:
      return 4;
    case MetaType::string:  // its length, at least
    case MetaType::u64:
    case MetaType::i64:
    case MetaType::f64:
      return 8;
    case MetaType::array:
      break;
  }
  return 12;  // an array's element type and count, at least
}

/// Types of ggml that we know by name only, so that a message can say what was found.
std::string_view foreign_type(uint32_t number) {
  constexpr std::string_view kNames[] = {"",
                                         "",
                                         "",
                                         "",
                                         "Q4_2 (removed)",
                                         "Q4_3 (removed)",
                                         "",
                                         "",
                                         "",
                                         "Q8_1",
                                         "",
                                         "",
                                         "",
                                         "",
                                         "",
                                         "Q8_K",
                                         "IQ2_XXS",
                                         "IQ2_XS",
                                         "IQ3_XXS",
                                         "IQ1_S",
                                         "IQ4_NL",
                                         "IQ3_S",
                                         "IQ2_S",
                                         "IQ4_XS",
                                         "",
                                         "I16",
                                         "",
                                         "",
                                         "",
                                         "IQ1_M",
                                         "",
                                         "Q4_0_4_4 (removed)",
                                         "Q4_0_4_8 (removed)",
                                         "Q4_0_8_8 (removed)",
                                         "TQ1_0",
                                         "TQ2_0"};
  if (number == 39) return "MXFP4";
  return number < std::size(kNames) && !kNames[number].empty() ? kNames[number] : "unknown";
}

class Parser {
 public:
  explicit Parser(std::shared_ptr<const MappedFile> file) : file_(std::move(file)), bytes_(file_->bytes()) {}

  ModelParts parse() {
    header();
    for (uint64_t i = 0; i < n_metadata_; ++i) metadata_entry();
    const uint64_t alignment = find_alignment();
    refuse_split();
    for (uint64_t i = 0; i < n_tensors_; ++i) tensor_entry(alignment);
    place_tensors(alignment);
    parts_.path = file_->path();
    parts_.container = "gguf";
    parts_.files = {file_};
    return std::move(parts_);
  }

 private:
  [[noreturn]] void fail(const std::string& message, uint64_t at) const {
    throw FileError(file_->path(), where_, message, at);
  }

  uint64_t left() const { return bytes_.size() - at_; }

  template <class T>
  T read(std::string_view what) {
    if (left() < sizeof(T)) fail(fmt::format("the file ends within {}", what), at_);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }

  std::string read_string(std::string_view what, uint64_t limit = std::numeric_limits<uint64_t>::max()) {
    const uint64_t begin = at_;
    const auto length = read<uint64_t>(what);
    if (length > left())
      fail(fmt::format("{} claims a length of {} bytes, but only {} remain", what, length, left()), begin);
    if (length > limit)
      fail(fmt::format("{} has {} bytes; at most {} are allowed", what, length, limit), begin);
    std::string text(reinterpret_cast<const char*>(bytes_.data() + at_), length);
    at_ += length;
    return text;
  }

  /// A key or tensor name: not empty, no control characters (they would garble every message).
  std::string read_name(std::string_view what) {
    const uint64_t begin = at_;
    std::string text = read_string(what, kMaxName);
    if (text.empty()) fail(fmt::format("{} is empty", what), begin);
    for (const char c : text)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        fail(fmt::format("{} contains a control character", what), begin);
    return text;
  }

  void header() {
    const auto magic = bytes_.subspan(0, std::min<size_t>(bytes_.size(), 4));
    if (bytes_.empty()) fail("the file is empty", 0);
    if (!is_gguf(bytes_)) {
      std::string found;
      for (const std::byte b : magic) found += fmt::format("{}{:02x}", found.empty() ? "" : " ", b);
      fail(fmt::format("not a GGUF file: it begins with {} instead of \"GGUF\"", found), 0);
    }
    at_ = 4;
    const auto version = read<uint32_t>("the version");
    if (version != 0 && (version & 0xffffu) == 0)
      fail(fmt::format("this file is big-endian (version field {:#010x}); only little-endian GGUF can be "
                       "read: convert it "
                       "with gguf_convert_endian.py of the Python package gguf",
                       version),
           4);
    if (version != 2 && version != 3)
      fail(fmt::format("GGUF version {} is not supported, only 2 and 3: convert the model anew", version), 4);
    n_tensors_ = read<uint64_t>("the tensor count");
    n_metadata_ = read<uint64_t>("the metadata count");
    check_count("tensors", n_tensors_, 24, 8);
    check_count("metadata entries", n_metadata_, 13, 16);
  }

  void check_count(std::string_view what, uint64_t count, uint64_t least_bytes, uint64_t at) const {
    if (count > left() / least_bytes)
      fail(fmt::format("the header claims {} {}, but only {} bytes follow", count, what, left()), at);
  }

  MetaType read_type(std::string_view what) {
    const uint64_t begin = at_;
    const auto number = read<uint32_t>(what);
    if (number > static_cast<uint32_t>(MetaType::f64))
      fail(fmt::format("{} {} is unknown (0 to 12 are defined)", what, number), begin);
    return static_cast<MetaType>(number);
  }

  void metadata_entry() {
    where_.clear();
    const uint64_t begin = at_;
    std::string key = read_name("a metadata key");
    where_ = key;
    if (!keys_.emplace(key, begin).second) fail("this key appears twice", begin);
    MetaValue value;
    value.type = read_type("the value type");
    if (value.type == MetaType::array)
      value = read_array();
    else
      value.data = read_scalar(value.type);
    parts_.metadata.push_back({std::move(key), std::move(value), begin});
  }

  bool read_bool() {
    const uint64_t begin = at_;
    const auto byte = read<uint8_t>("a boolean");
    if (byte > 1) fail(fmt::format("a boolean has the value {}; 0 and 1 are allowed", byte), begin);
    return byte == 1;
  }

  int64_t read_signed(MetaType type) {
    switch (type) {
      case MetaType::i8:
        return read<int8_t>("the value");
      case MetaType::i16:
        return read<int16_t>("the value");
      case MetaType::i32:
        return read<int32_t>("the value");
      default:
        return read<int64_t>("the value");
    }
  }

  uint64_t read_unsigned(MetaType type) {
    switch (type) {
      case MetaType::u8:
        return read<uint8_t>("the value");
      case MetaType::u16:
        return read<uint16_t>("the value");
      case MetaType::u32:
        return read<uint32_t>("the value");
      default:
        return read<uint64_t>("the value");
    }
  }

  double read_float(MetaType type) {
    return type == MetaType::f32 ? static_cast<double>(read<float>("the value")) : read<double>("the value");
  }

  static bool is_signed(MetaType t) {
    return t == MetaType::i8 || t == MetaType::i16 || t == MetaType::i32 || t == MetaType::i64;
  }

  MetaValue::Data read_scalar(MetaType type) {
    if (type == MetaType::boolean) return read_bool();
    if (type == MetaType::string) return read_string("the value");
    if (type == MetaType::f32 || type == MetaType::f64) return read_float(type);
    if (is_signed(type)) return read_signed(type);
    return read_unsigned(type);
  }

  template <class T, class Read>
  std::vector<T> elements(uint64_t count, Read read_one) {
    std::vector<T> values;
    values.reserve(count);
    for (uint64_t i = 0; i < count; ++i) values.push_back(read_one());
    return values;
  }

  MetaValue read_array() {
    const uint64_t begin = at_;
    MetaValue value;
    const MetaType type = value.type = read_type("the array's element type");
    if (type == MetaType::array) fail("arrays of arrays are not supported", begin);
    const auto count = read<uint64_t>("the array's length");
    if (count > left() / width(type))
      fail(fmt::format("an array claims {} elements of {}, but only {} bytes remain", count, name(type),
                       left()),
           begin);
    if (type == MetaType::boolean)
      value.data = elements<bool>(count, [&] { return read_bool(); });
    else if (type == MetaType::string)
      value.data = elements<std::string>(count, [&] { return read_string("a string in the array"); });
    else if (type == MetaType::f32 || type == MetaType::f64)
      value.data = elements<double>(count, [&] { return read_float(type); });
    else if (is_signed(type))
      value.data = elements<int64_t>(count, [&] { return read_signed(type); });
    else
      value.data = elements<uint64_t>(count, [&] { return read_unsigned(type); });
    return value;
  }

  const MetaEntry* find(std::string_view key) const {
    for (const auto& entry : parts_.metadata)
      if (entry.key == key) return &entry;
    return nullptr;
  }

  uint64_t find_alignment() {
    const MetaEntry* entry = find("general.alignment");
    if (!entry) return kDefaultAlignment;
    where_ = entry->key;
    if (entry->value.type != MetaType::u32 || entry->value.is_array())
      fail(fmt::format("expected uint32, found {} {}", type_name(entry->value), to_string(entry->value)),
           entry->offset);
    const uint64_t alignment = std::get<uint64_t>(entry->value.data);
    if (!std::has_single_bit(alignment)) fail(fmt::format("{} is no power of two", alignment), entry->offset);
    return alignment;
  }

  void refuse_split() {
    const MetaEntry* entry = find("split.count");
    if (!entry) return;
    const auto* count = std::get_if<uint64_t>(&entry->value.data);
    where_ = entry->key;
    if (!count || *count > 1)
      fail(fmt::format(
               "this is one part of a model split into {} files; join them with `llama-gguf-split --merge`",
               to_string(entry->value)),
           entry->offset);
  }

  void tensor_entry(uint64_t alignment) {
    where_.clear();
    TensorEntry t;
    t.entry = at_;
    t.name = read_name("a tensor name");
    where_ = "tensor '" + t.name + "'";
    if (!names_.emplace(t.name, t.entry).second) fail("this tensor appears twice", t.entry);
    const uint64_t elements = read_shape(t);
    read_tensor_type(t, elements);
    const uint64_t begin = at_;
    t.offset = read<uint64_t>("the data offset");
    if (t.offset % alignment != 0)
      fail(fmt::format("the data offset {} is no multiple of the alignment {}", t.offset, alignment), begin);
    parts_.tensors.push_back(std::move(t));
  }

  /// Fills t.shape and returns the number of elements.
  uint64_t read_shape(TensorEntry& t) {
    const uint64_t begin = at_;
    const auto n_dims = read<uint32_t>("the dimension count");
    if (n_dims > 4) fail(fmt::format("{} dimensions; at most 4 are allowed", n_dims), begin);
    int64_t dims[4] = {};
    std::optional<int64_t> elements = 1;
    for (uint32_t i = 0; i < n_dims; ++i) {
      const uint64_t at = at_;
      const auto extent = read<uint64_t>("the dimensions");
      if (extent == 0) fail(fmt::format("dimension {} is zero", i), at);
      if (extent <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        elements = checked_mul(*elements, static_cast<int64_t>(extent));
      else
        elements = std::nullopt;
      if (!elements) fail(fmt::format("dimension {} is {}: the number of elements overflows", i, extent), at);
      dims[n_dims - 1 - i] = static_cast<int64_t>(extent);  // the file has the innermost first
    }
    t.shape = Shape(std::span<const int64_t>(dims, n_dims));
    return static_cast<uint64_t>(*elements);
  }

  void read_tensor_type(TensorEntry& t, uint64_t elements) {
    const uint64_t begin = at_;
    const auto number = read<uint32_t>("the tensor type");
    const auto dtype = dtype_from_gguf(number);
    if (!dtype)
      fail(
          fmt::format(
              "tensor type {} ({}) is not supported; convert the model to one of F32, F16, BF16, Q4_0, Q4_1, "
              "Q5_0, Q5_1, Q8_0, Q2_K … Q6_K",
              number, foreign_type(number)),
          begin);
    t.dtype = *dtype;
    const auto& type = info(*dtype);
    const int64_t row = t.shape.rank() ? t.shape.back() : 1;
    if (row % type.block_elements != 0)
      fail(fmt::format("rows of {} elements are no multiple of {}'s block of {}", row, type.gguf_name,
                       type.block_elements),
           begin);
    const auto size = checked_mul(elements / static_cast<uint64_t>(type.block_elements),
                                  static_cast<uint64_t>(type.block_bytes));
    if (!size) fail("its size in bytes overflows", begin);
    t.bytes = *size;
  }

  /// Makes data offsets absolute and checks that the tensors lie inside the file and apart.
  void place_tensors(uint64_t alignment) {
    if (parts_.tensors.empty()) return;
    const uint64_t start =
        (at_ + alignment - 1) / alignment * alignment;  // at_ is far below 2^63, alignment below 2^32
    for (auto& t : parts_.tensors) {
      where_ = "tensor '" + t.name + "'";
      const auto begin = checked_add(start, t.offset);
      const auto end = begin ? checked_add(*begin, t.bytes) : std::nullopt;
      if (!end || *end > bytes_.size())
        fail(fmt::format("its {} bytes at data offset {} lie past the end of the file, which has {} bytes: "
                         "the file is "
                         "truncated or damaged, fetch it again",
                         t.bytes, t.offset, bytes_.size()),
             t.entry);
      t.offset = *begin;
    }
    std::vector<const TensorEntry*> order;
    for (const auto& t : parts_.tensors) order.push_back(&t);
    std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->offset < b->offset; });
    for (size_t i = 1; i < order.size(); ++i) {
      if (order[i]->offset >= order[i - 1]->offset + order[i - 1]->bytes) continue;
      where_ = "tensor '" + order[i]->name + "'";
      fail(fmt::format("its data overlaps that of tensor '{}'", order[i - 1]->name), order[i]->entry);
    }
  }

  std::shared_ptr<const MappedFile> file_;
  std::span<const std::byte> bytes_;
  uint64_t at_ = 0, n_tensors_ = 0, n_metadata_ = 0;
  std::string where_;  // key or tensor in hand
  std::unordered_map<std::string, uint64_t> keys_, names_;
  ModelParts parts_;
};

}  // namespace

bool is_gguf(std::span<const std::byte> bytes) {
  return bytes.size() >= kMagic.size() && std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

ModelParts read_gguf(std::shared_ptr<const MappedFile> file) {
  ModelParts parts = Parser(std::move(file)).parse();
  const auto key_is = [](std::string_view key) { return [key](const MetaEntry& e) { return e.key == key; }; };
  const auto has = [&](std::string_view key) {
    return std::any_of(parts.metadata.begin(), parts.metadata.end(), key_is(key));
  };
  if (!has(kRopeStyleKey)) {
    const auto at =
        std::find_if(parts.metadata.begin(), parts.metadata.end(), key_is("general.architecture"));
    const auto* architecture =
        at == parts.metadata.end() ? nullptr : std::get_if<std::string>(&at->value.data);
    const std::string_view style = architecture ? gguf_rope_style(*architecture) : "";
    if (!style.empty()) parts.metadata.push_back({kRopeStyleKey, MetaValue::of_string(std::string(style))});
  }
  if (!has("tokenizer.ggml.tokens")) {
    const auto beside = std::filesystem::path(parts.path).parent_path() / "tokenizer.json";
    std::error_code ignored;
    if (std::filesystem::exists(beside, ignored)) parts.tokenizer_json = beside.string();
  }
  return parts;
}

}  // namespace tl

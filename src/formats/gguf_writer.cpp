#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "formats/gguf.h"

namespace tl {

namespace {

/// Little-endian bytes of a header.
class Bytes {
 public:
  template <class T>
  void put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void put_string(const std::string& s) {
    put(static_cast<uint64_t>(s.size()));
    text_ += s;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void put_one(Bytes& to, MetaType, bool value) { to.put(static_cast<uint8_t>(value)); }
void put_one(Bytes& to, MetaType, const std::string& value) { to.put_string(value); }
void put_one(Bytes& to, MetaType type, double value) {
  if (type == MetaType::f32)
    to.put(static_cast<float>(value));
  else
    to.put(value);
}

template <class T>
requires std::is_same_v<T, int64_t> || std::is_same_v<T, uint64_t>
void put_one(Bytes& to, MetaType type, T value) {
  switch (type) {
    case MetaType::u8:
    case MetaType::i8:
      return to.put(static_cast<uint8_t>(value));
    case MetaType::u16:
    case MetaType::i16:
      return to.put(static_cast<uint16_t>(value));
    case MetaType::u32:
    case MetaType::i32:
      return to.put(static_cast<uint32_t>(value));
    default:
      return to.put(value);
  }
}

void put_value(Bytes& to, const MetaValue& value) {
  const auto put = [&](const auto& v) {
    if constexpr (requires { put_one(to, value.type, v); }) {
      to.put(value.type);
      put_one(to, value.type, v);
    } else {
      to.put(MetaType::array);
      to.put(value.type);
      to.put(static_cast<uint64_t>(v.size()));
      for (const auto& element : v) put_one(to, value.type, element);
    }
  };
  std::visit(put, value.data);
}

}  // namespace

GgufWriter::GgufWriter(std::string path, uint32_t alignment)
    : file_(std::move(path)), alignment_(alignment) {}
GgufWriter::~GgufWriter() = default;

void GgufWriter::set(const std::string& key, MetaValue value) {
  TL_CHECK(!header_written_, "metadata comes before data");
  if (key == "general.alignment") return;  // the writer's own
  for (auto& entry : metadata_) {
    if (entry.key != key) continue;
    entry.value = std::move(value);
    return;
  }
  metadata_.push_back({key, std::move(value), 0});
}

void GgufWriter::add_tensor(const std::string& name, DType dtype, const Shape& shape) {
  TL_CHECK(!header_written_, "tensors are announced before data");
  TL_CHECK(info(dtype).gguf_type >= 0, "GGUF has no such element type");
  TL_CHECK(shape.rank() <= 4, "GGUF has at most 4 dimensions");
  const uint64_t end = tensors_.empty() ? 0 : tensors_.back().offset + tensors_.back().bytes;
  tensors_.push_back({name, dtype, shape, (end + alignment_ - 1) / alignment_ * alignment_,
                      static_cast<uint64_t>(bytes_of(dtype, shape.elements()))});
}

void GgufWriter::write_header() {
  if (alignment_ != 32) metadata_.push_back({"general.alignment", MetaValue::of_u32(alignment_), 0});
  Bytes header;
  for (const char c : {'G', 'G', 'U', 'F'}) header.put(c);
  header.put(uint32_t{3});
  header.put(static_cast<uint64_t>(tensors_.size()));
  header.put(static_cast<uint64_t>(metadata_.size()));
  for (const auto& entry : metadata_) {
    header.put_string(entry.key);
    put_value(header, entry.value);
  }
  for (const auto& t : tensors_) {
    header.put_string(t.name);
    header.put(static_cast<uint32_t>(t.shape.rank()));
    for (int i = t.shape.rank() - 1; i >= 0; --i) header.put(t.shape[i]);
    header.put(static_cast<uint32_t>(info(t.dtype).gguf_type));
    header.put(t.offset);
  }
  file_.write(header.text());
  data_start_ = (file_.size() + alignment_ - 1) / alignment_ * alignment_;
  header_written_ = true;
}

void GgufWriter::pad(uint64_t to) {
  const std::string zeros(static_cast<size_t>(to - file_.size()), '\0');
  file_.write(zeros);
}

void GgufWriter::write(std::span<const std::byte> data) {
  if (!header_written_) write_header();
  while (!data.empty()) {
    TL_CHECK(current_ < tensors_.size(), "more data than announced");
    const Planned& t = tensors_[current_];
    if (written_ == 0) pad(data_start_ + t.offset);
    const auto piece =
        data.subspan(0, static_cast<size_t>(std::min<uint64_t>(data.size(), t.bytes - written_)));
    file_.write(piece.data(), piece.size());
    written_ += piece.size();
    data = data.subspan(piece.size());
    if (written_ < t.bytes) continue;
    ++current_;
    written_ = 0;
  }
}

void GgufWriter::finish() {
  if (!header_written_) write_header();
  TL_CHECK(current_ == tensors_.size() && written_ == 0, "less data than announced");
  pad((file_.size() + alignment_ - 1) / alignment_ * alignment_);  // readers want the last tensor padded, too
  file_.commit();
}

}  // namespace tl

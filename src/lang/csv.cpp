#include "lang/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"

namespace tl::lang {

namespace {

struct Table {
  std::vector<double> values;
  int64_t rows = 0, columns = 0;
};

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> parts_of(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    parts.push_back(trimmed(text.substr(at, end - at)));
    at = end + 1;
  }
  return parts;
}

std::optional<double> number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Throws FileError for what is no text: "w.npy: …".
void require_text(const std::string& path, std::string_view text) {
  if (text.starts_with("\x93NUMPY"))
    throw FileError(
        path, "", "a file of numpy.save, and only CSV is read: numpy.savetxt(\"w.csv\", w, delimiter=\",\")");
  if (text.find('\0') != std::string_view::npos)
    throw FileError(path, "",
                    "not a text file, and only CSV is read: numbers in lines, with commas between them");
}

Table parse(const std::string& path, std::string_view text) {
  require_text(path, text);
  Table table;
  int64_t line = 0;
  bool is_first = true;
  for (const std::string_view row : parts_of(text, '\n')) {
    ++line;
    if (row.empty()) continue;
    const auto cells = parts_of(row, ',');
    const bool is_header = std::exchange(is_first, false) &&
                           std::none_of(cells.begin(), cells.end(), [](auto c) { return number(c); });
    if (is_header) continue;
    if (table.rows == 0) table.columns = static_cast<int64_t>(cells.size());
    if (static_cast<int64_t>(cells.size()) != table.columns)
      throw FileError(path, fmt::format("line {}", line),
                      fmt::format("{} numbers, and {} in the lines before", cells.size(), table.columns));
    for (size_t i = 0; i < cells.size(); ++i) {
      const auto value = number(cells[i]);
      if (!value)
        throw FileError(
            path, fmt::format("line {}", line),
            fmt::format(
                "'{}' in column {} is not a number{}", cells[i].substr(0, 40), i + 1,
                cells[i].find(' ') == std::string_view::npos ? "" : "; commas stand between numbers"));
      table.values.push_back(*value);
    }
    ++table.rows;
  }
  return table;
}

/// Fills in the one extent that is open, where the rest tells it.
void complete(std::vector<int64_t>& extents, const Table& table) {
  if (extents.size() >= 2 && extents.back() < 0) extents.back() = table.columns;
  const auto n = static_cast<int64_t>(table.values.size());
  int64_t known = 1;
  for (const int64_t d : extents) known *= d < 0 ? 1 : d;
  for (int64_t& d : extents)
    if (d < 0) d = known > 0 ? n / known : 0, known *= d;
}

}  // namespace

Tensor read_csv(const std::string& path, DType dtype, std::vector<int64_t> extents) {
  const Table table = parse(path, read_file(path));
  complete(extents, table);
  Shape shape;
  for (const int64_t d : extents) shape.push_back(d);
  const auto n = static_cast<int64_t>(table.values.size());
  const bool lines_fit = shape.rank() < 2 || shape.back() == table.columns;
  if (shape.elements() != n || !lines_fit)
    throw Error(fmt::format("\"{}\" holds {} lines of {} numbers, which do not make a tensor of shape {}",
                            path, table.rows, table.columns, to_string(shape)));
  Tensor out(dtype, shape);
  for (int64_t i = 0; i < n; ++i) {
    const double value = table.values[static_cast<size_t>(i)];
    if (is_float(dtype))
      store_double(out, i, value);
    else if (value == std::trunc(value) && std::abs(value) < 0x1p53)
      store_int(out, i, static_cast<int64_t>(value));
    else
      throw Error(fmt::format("\"{}\" holds {}, which is no {}", path, value, name(dtype)));
  }
  return out;
}

void write_csv(const std::string& path, const Tensor& t) {
  const int64_t columns = t.rank() < 2 ? 1 : t.shape().back();
  AtomicFile file(path);
  for (int64_t i = 0; i < t.elements(); ++i) {
    int64_t offset = 0;  // of element i in row-major order
    for (int64_t a = t.rank() - 1, rest = i; a >= 0; --a) {
      const int axis = static_cast<int>(a);
      offset += rest % t.shape()[axis] * t.strides()[axis];
      rest /= t.shape()[axis];
    }
    const std::string_view after = (i + 1) % columns == 0 ? "\n" : ",";
    if (!is_float(t.dtype()))
      file.write(fmt::format("{}{}", load_int(t, offset), after));
    else if (t.dtype() == DType::f64)
      file.write(fmt::format("{}{}", load_double(t, offset), after));
    else
      file.write(fmt::format("{}{}", static_cast<float>(load_double(t, offset)), after));
  }
  file.commit();
}

}  // namespace tl::lang

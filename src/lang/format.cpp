// How values look when they are printed.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "lang/interpreter_detail.h"

namespace tl::lang {

namespace {

constexpr int64_t kElideAbove = 1000;  // elements; NumPy's threshold and edge
constexpr int64_t kEdge = 3;
constexpr size_t kLineWidth = 80;
constexpr int64_t kPlainVector = 10;

std::string quoted_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\r')
      out += "\\r";
    else
      out += c;
  }
  return out + "\"";
}

/// NaN is shown without its sign bit, which says nothing (0 / 0 sets it on x86).
double shown(double v) { return std::isnan(v) ? std::abs(v) : v; }

/// Prints one tensor: every element as wide as the widest, rows wrapped, the middle of large axes left out.
class TensorPrinter {
 public:
  explicit TensorPrinter(const Tensor& t) : t_(t), elide_(t.elements() > kElideAbove) {
    double largest = 0, smallest = INFINITY;
    visit(0, 0, [&](int64_t at) {
      const double v = std::abs(load_double(t_, at));
      if (!std::isfinite(v)) return;
      largest = std::max(largest, v);
      if (v > 0) smallest = std::min(smallest, v);
    });
    scientific_ = is_float(t_.dtype()) && (largest >= 1e8 || (largest > 0 && largest < 1e-4));
    const bool is_flat = t_.rank() == 1 && t_.elements() <= kPlainVector;
    if (!is_flat) visit(0, 0, [&](int64_t at) { width_ = std::max(width_, element(at).size()); });
  }

  std::string text() const { return axis(0, 0); }

 private:
  std::string element(int64_t at) const {
    if (t_.dtype() == DType::boolean) return load_int(t_, at) != 0 ? "true" : "false";
    if (is_int(t_.dtype())) return fmt::format("{}", load_int(t_, at));
    const double v = shown(load_double(t_, at));
    return scientific_ ? fmt::format("{:.4e}", v) : fmt::format("{:.4f}", v);
  }

  bool is_elided(int axis) const { return elide_ && t_.shape()[axis] > 2 * kEdge; }

  /// Calls `f` with the offset of every element that is shown.
  template <class F>
  void visit(int axis, int64_t offset, F f) const {
    if (axis == t_.rank()) return f(offset);
    const int64_t n = t_.shape()[axis];
    for (int64_t i = 0; i < n; ++i) {
      if (is_elided(axis) && i == kEdge) i = n - kEdge;
      visit(axis + 1, offset + i * t_.strides()[axis], f);
    }
  }

  std::string axis(int axis, int64_t offset) const {
    if (axis == t_.rank()) return element(offset);
    return axis + 1 == t_.rank() ? row(axis, offset) : block(axis, offset);
  }

  std::string row(int axis, int64_t offset) const {
    std::string out = "[";
    size_t column = static_cast<size_t>(axis) + 1;
    const int64_t n = t_.shape()[axis];
    const auto append = [&](const std::string& item, bool is_first) {
      const bool wraps = width_ > 0 && column + item.size() + 3 > kLineWidth;
      if (!is_first) {
        out += wraps ? ",\n" + std::string(static_cast<size_t>(axis) + 1, ' ') : ", ";
        column = wraps ? static_cast<size_t>(axis) + 1 : column + 2;
      }
      out += item;
      column += item.size();
    };
    for (int64_t i = 0; i < n; ++i) {
      if (is_elided(axis) && i == kEdge) {
        append("...", false);
        i = n - kEdge;
      }
      append(fmt::format("{:>{}}", element(offset + i * t_.strides()[axis]), width_), i == 0);
    }
    return out + "]";
  }

  std::string block(int axis, int64_t offset) const {
    std::string out = "[";
    const std::string separator = "," + std::string(static_cast<size_t>(t_.rank() - axis - 1), '\n') +
                                  std::string(static_cast<size_t>(axis) + 1, ' ');
    const int64_t n = t_.shape()[axis];
    for (int64_t i = 0; i < n; ++i) {
      if (i > 0) out += separator;
      if (is_elided(axis) && i == kEdge) {
        out += "..." + separator;
        i = n - kEdge;
      }
      out += this->axis(axis + 1, offset + i * t_.strides()[axis]);
    }
    return out + "]";
  }

  const Tensor& t_;
  bool elide_;
  bool scientific_ = false;
  size_t width_ = 0;
};

/// The shortest text that reads back as the same number of the tensor's type.
std::string scalar_text(const Tensor& t) {
  if (t.dtype() == DType::boolean) return load_int(t, 0) != 0 ? "true" : "false";
  if (is_int(t.dtype())) return fmt::format("{}", load_int(t, 0));
  if (t.dtype() == DType::f64) return fmt::format("{}", shown(load_double(t, 0)));
  return fmt::format("{}", static_cast<float>(shown(load_double(t, 0))));
}

}  // namespace

std::string format_tensor(const Tensor& tensor) {
  const Tensor plain = is_quantised(tensor.dtype()) ? converted(tensor, DType::f32) : tensor;
  return plain.rank() == 0 ? scalar_text(plain) : TensorPrinter(plain).text();
}

std::string format_value(const Value& value, Host& host, bool quoted) {
  switch (value.kind()) {
    case ValueKind::nothing:
      return "()";
    case ValueKind::boolean:
      return value.boolean() ? "true" : "false";
    case ValueKind::integer:
      return fmt::format("{}", value.integer());
    case ValueKind::floating:
      return fmt::format("{}", shown(value.floating()));
    case ValueKind::string:
      return quoted ? quoted_string(value.string()) : value.string();
    case ValueKind::list: {
      std::string out = "[";
      for (const Value& item : value.list()) {
        if (out.size() > 1) out += ", ";
        out += format_value(item, host, true);
      }
      return out + "]";
    }
    case ValueKind::record: {
      std::string out = "{";
      for (const auto& [name, field] : value.fields()) {
        if (out.size() > 1) out += ", ";
        out += name + ": " + format_value(field, host, true);
      }
      return out + "}";
    }
    case ValueKind::function: {
      const FunctionObject& f = value.function();
      return fmt::format("<function {}>", f.user ? f.user->name : f.native->name);
    }
    case ValueKind::tensor: {
      // A backend may keep more digits than the type has (reference: float64).
      const Tensor content = host.evaluate(value.tensor());
      const DType type = value.tensor()->dtype();
      return format_tensor(content.dtype() == type || is_quantised(type) ? content
                                                                         : converted(content, type));
    }
    case ValueKind::object:
      return value.object().text();
  }
  return {};
}

}  // namespace tl::lang

#include "cli/plot.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace tl::cli {

namespace {

constexpr double kWidth = 640, kHeight = 260, kLeft = 64, kRight = 12, kTop = 10, kBottom = 40;
constexpr int kBins = 48;

/// Maps numbers to a stretch of the picture.
struct Axis {
  double low, high, from, to;
  bool log = false;

  double value(double x) const { return log ? std::log10(x) : x; }
  bool shows(double x) const { return std::isfinite(x) && (!log || x > 0); }
  double at(double x) const { return from + (value(x) - low) / (high - low) * (to - from); }
};

Axis axis(const std::vector<double>& values, double from, double to, bool log) {
  Axis a{INFINITY, -INFINITY, from, to, log};
  for (const double x : values)
    if (a.shows(x)) a.low = std::min(a.low, a.value(x)), a.high = std::max(a.high, a.value(x));
  if (a.low > a.high) a.low = 0, a.high = 1;
  if (log) a.low = std::floor(a.low), a.high = std::ceil(a.high);
  if (a.high - a.low < 1e-12) a.low -= 0.5, a.high += 0.5;
  return a;
}

/// Some five round numbers, or powers of ten, within an axis.
std::vector<double> ticks(const Axis& a) {
  std::vector<double> found;
  if (a.log) {
    const double step = std::max(1.0, std::ceil((a.high - a.low) / 6));
    for (double e = a.low; e <= a.high + 1e-9; e += step) found.push_back(std::pow(10, e));
    return found;
  }
  const double rough = (a.high - a.low) / 5, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough / power > 5 ? 10 : rough / power > 2 ? 5 : rough / power > 1 ? 2 : 1);
  for (double x = std::ceil(a.low / step) * step; x <= a.high + step * 1e-6; x += step)
    found.push_back(std::fabs(x) < step * 1e-6 ? 0 : x);
  return found;
}

std::string begin(const std::string& title, double width, double height) {
  return fmt::format(
      "<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\" "
      "xmlns=\"http://www.w3.org/2000/svg\">",
      width, height, escaped_html(title));
}

std::string frame(const Axis& x, const Axis& y, const std::string& x_title) {
  std::string svg;
  for (const double t : ticks(y))
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:.3g}</text>",
        kLeft, kWidth - kRight, y.at(t), kLeft - 6, y.at(t) + 4, t);
  for (const double t : ticks(x))
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.3g}</text>", x.at(t),
                       kHeight - kBottom + 18, t);
  return svg + fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>", (kLeft + kWidth) / 2,
                           kHeight - 6, escaped_html(x_title));
}

std::string legend(const std::vector<std::string>& names) {
  std::string html = "<p class=\"legend\">";
  for (size_t i = 0; i < names.size(); ++i)
    html += fmt::format("<span class=\"s{}\">{}</span> ", i, escaped_html(names[i]));
  return html + "</p>";
}

std::string figure(const std::string& title, const std::string& legend, const std::string& svg) {
  return fmt::format("<figure><figcaption>{}</figcaption>{}{}</svg></figure>\n", escaped_html(title), legend,
                     svg);
}

}  // namespace

std::string escaped_html(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string line_chart(const std::string& title, const std::string& x_title, const std::vector<double>& x,
                       const std::vector<Series>& series, bool log) {
  std::vector<double> all;
  std::vector<std::string> names;
  for (const Series& s : series) {
    all.insert(all.end(), s.y.begin(), s.y.end());
    names.push_back(s.name);
  }
  const Axis across = axis(x, kLeft, kWidth - kRight, false), up = axis(all, kHeight - kBottom, kTop, log);
  std::string svg = begin(title, kWidth, kHeight) + frame(across, up, x_title);
  for (size_t k = 0; k < series.size(); ++k) {
    std::string points, dots;
    for (size_t i = 0; i < x.size() && i < series[k].y.size(); ++i) {
      if (!up.shows(series[k].y[i])) continue;
      const double px = across.at(x[i]), py = up.at(series[k].y[i]);
      points += fmt::format("{:.1f},{:.1f} ", px, py);
      dots += fmt::format(
          "<circle class=\"s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\"><title>{}: {:.4g}</title></circle>", k,
          px, py, escaped_html(series[k].name), series[k].y[i]);
    }
    svg += fmt::format("<polyline class=\"s{}\" points=\"{}\"/>{}", k, points, dots);
  }
  return figure(title, legend(names), svg);
}

std::string histogram(const std::string& title, const std::vector<double>& a, const std::string& a_name,
                      const std::vector<double>& b, const std::string& b_name) {
  std::vector<double> all = a;
  all.insert(all.end(), b.begin(), b.end());
  const Axis across = axis(all, kLeft, kWidth - kRight, false);
  const auto counted = [&](const std::vector<double>& values) {
    std::vector<double> bins(kBins);
    for (const double v : values) {
      if (!std::isfinite(v)) continue;
      const double share = (v - across.low) / (across.high - across.low);
      bins[static_cast<size_t>(std::clamp(share * kBins, 0.0, kBins - 1.0))] += 1;
    }
    return bins;
  };
  const std::vector<double> of_a = counted(a), of_b = counted(b);
  std::vector<double> heights = of_a;
  heights.insert(heights.end(), of_b.begin(), of_b.end());
  heights.push_back(0);
  const Axis up = axis(heights, kHeight - kBottom, kTop, false);
  std::string svg = begin(title, kWidth, kHeight) + frame(across, up, "logit");
  const double width = (across.to - across.from) / kBins;
  for (int k = 0; k < 2; ++k) {
    std::string path = fmt::format("M{:.1f},{:.1f}", across.from, up.at(0));
    for (int i = 0; i < kBins; ++i) {
      const double y = up.at((k == 0 ? of_a : of_b)[static_cast<size_t>(i)]);
      path += fmt::format("V{:.1f}H{:.1f}", y, across.from + (i + 1) * width);
    }
    svg += fmt::format("<path class=\"s{} area\" d=\"{}V{:.1f}Z\"/>", k, path, up.at(0));
  }
  return figure(title, legend({a_name, b_name}), svg);
}

std::string heat_map(const std::string& title, const std::vector<std::string>& columns,
                     const std::vector<std::string>& rows, const std::vector<HeatCell>& cells) {
  size_t longest = 0;
  for (const std::string& r : rows) longest = std::max(longest, r.size());
  const double left = 8 + 7.2 * static_cast<double>(longest), line = 20, top = 22;
  const double width =
      std::max(12.0, (kWidth - left - 4) / static_cast<double>(std::max<size_t>(1, columns.size())));
  std::string svg = begin(title, left + width * static_cast<double>(columns.size()) + 4,
                          top + line * static_cast<double>(rows.size()) + 4);
  const size_t every = static_cast<size_t>(std::ceil(26 / width));
  for (size_t c = 0; c < columns.size(); c += every)
    svg += fmt::format("<text x=\"{:.1f}\" y=\"14\" text-anchor=\"middle\">{}</text>",
                       left + width * (static_cast<double>(c) + 0.5), escaped_html(columns[c]));
  for (size_t r = 0; r < rows.size(); ++r)
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", left - 6,
                       top + line * static_cast<double>(r) + 14, escaped_html(rows[r]));
  for (const HeatCell& cell : cells) {
    const double x = left + width * cell.column, y = top + line * cell.row;
    svg += fmt::format(
        "<g><title>{}</title><rect class=\"cell\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\"/>"
        "<rect class=\"hot\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" "
        "fill-opacity=\"{:.2f}\"/>",
        escaped_html(cell.title), x, y, width - 1, line - 1, x, y, width - 1, line - 1,
        std::clamp(std::isfinite(cell.heat) ? cell.heat : 1.0, 0.0, 1.0));
    if (!cell.text.empty())
      svg += fmt::format("<text class=\"in\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
                         x + width / 2, y + 14, escaped_html(cell.text));
    svg += "</g>";
  }
  return figure(title, "", svg);
}

}  // namespace tl::cli

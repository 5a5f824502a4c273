// The page of `tl diagnose --html`: one file that loads nothing, with plots as inline SVG.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "cli/diagnose.h"
#include "cli/plot.h"

namespace tl::cli {

namespace {

constexpr const char* kStyle = R"(
:root { --page: #fcfcfa; --ink: #22262b; --soft: #5c646e; --grid: #d9dce0; --box: #f1f2ef; --a: #1f6fb4; --b: #c2570c;
        --hot: 200, 40, 30; --bad: #b3261e; --good: #1b7340; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15181c; --ink: #e4e7ea; --soft: #9aa4af; --grid: #343a41; --box: #1f242a; --a: #6db3f2; --b: #f2a25c;
          --hot: 255, 96, 80; --bad: #ff8a80; --good: #74d39a; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--page); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
.verdict { background: var(--box); border-left: .4rem solid var(--bad); padding: .8rem 1rem; border-radius: .3rem }
.healthy .verdict { border-color: var(--good) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .88rem; width: 100% }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--grid); white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { color: var(--soft); font-weight: 600 } td.text, th.text { text-align: left; white-space: normal; min-width: 9rem }
.no { color: var(--bad); font-weight: 600 } .yes { color: var(--good) } .soft { color: var(--soft); font-size: .9rem }
figure { margin: 1rem 0; overflow-x: auto } figcaption { font-weight: 600; font-size: .92rem }
svg { width: 100%; min-width: 30rem; height: auto; display: block } svg text { fill: var(--soft); font: 13px system-ui, sans-serif }
@media (max-width: 40rem) { body { padding: .7rem } th, td { padding: .2rem .35rem } td.text, th.text { min-width: 7rem } }
.grid { stroke: var(--grid) } polyline { fill: none; stroke-width: 2 } polyline.s0 { stroke: var(--a) }
polyline.s1 { stroke: var(--b); stroke-dasharray: 5 3 } circle.s0 { fill: var(--a) } circle.s1 { fill: var(--b) }
.area { fill-opacity: .35; stroke-width: 1.5 } .area.s0 { fill: var(--a); stroke: var(--a) } .area.s1 { fill: var(--b); stroke: var(--b) }
.cell { fill: var(--box) } .hot { fill: rgb(var(--hot)) } svg text.in { fill: var(--ink); font-size: 11.5px }
.legend { margin: 0; font-size: .85rem } .legend span::before { content: "■ " } .legend .s0 { color: var(--a) } .legend .s1 { color: var(--b) }
)";

/// A table, cell by cell.
class Table {
 public:
  explicit Table(const std::vector<std::string>& head) {
    html_ = "<div class=\"wide\"><table><tr>";
    for (const std::string& h : head) html_ += cell("th", h);
    html_ += "</tr>\n";
  }
  /// Cells that begin with '<' are HTML already.
  void row(const std::vector<std::string>& cells) {
    html_ += "<tr>";
    for (const std::string& c : cells) html_ += cell("td", c);
    html_ += "</tr>\n";
  }
  std::string take() { return html_ + "</table></div>\n"; }

 private:
  static std::string cell(const char* tag, const std::string& text) {
    const bool is_html = text.starts_with('<');
    const bool is_text = !is_html && text.size() > 14;
    return fmt::format("<{0}{1}>{2}</{0}>", tag, is_text ? " class=\"text\"" : "",
                       is_html ? text : escaped_html(text));
  }
  std::string html_;
};

std::string number(double x) { return fmt::format("{:.3g}", x); }

std::string verdict_word(bool good, const char* yes, const char* no) {
  return good ? fmt::format("<span class=\"yes\">{}</span>", yes)
              : fmt::format("<span class=\"no\">{}</span>", no);
}

std::string checks(const Diagnosis& d) {
  Table t({"check", "what has to hold", "worst", "explained"});
  t.row({verdict_word(d.weights.empty(), "holds", "FAILS"),
         fmt::format("{} weights decode to what their blocks define, finite and of sane size", d.n_weights),
         "", ""});
  for (const inspect::WeightAudit& w : d.weights) t.row({"", w.name + ": " + w.faults.front(), "", ""});
  for (const inspect::Invariant& i : d.invariants)
    t.row({verdict_word(i.holds, "holds", "FAILS"), i.what, number(i.worst), number(i.bound)});
  if (d.reference) {
    const ReferenceCheck& r = *d.reference;
    const bool none = r.name.empty();
    t.row({verdict_word(none, "holds", "departs"),
           fmt::format("{} values are those of {}, within rounding{}", r.compared, r.info.tool,
                       none ? "" : "; the first that is not: " + r.name),
           none ? "" : number(r.error), none ? "" : number(r.explained)});
  }
  for (const inspect::OperationAudit& k : d.kernels)
    t.row({verdict_word(false, "", "FAILS"), k.name + " (" + k.op + "): " + k.faults.front(), "", ""});
  return t.take();
}

std::string hypotheses(const inspect::Fault& f) {
  if (f.record < 0) return {};
  std::string html = "<h2>Why</h2>\n";
  Table t({"hypothesis", "what would be wrong", "distance", "with the fault", "likelihood"});
  for (const inspect::Candidate& c : f.candidates)
    t.row({c.name, c.sentence, number(f.error), number(c.residual), fmt::format("{:.1f} %", 100 * c.share)});
  if (f.candidates.empty()) return html + "<p>None of the known faults reproduces what was observed.</p>\n";
  return html + t.take();
}

/// Hardly a colour for what rounding explains; from the middle of the scale on what is beyond, up to 10,000
/// times.
double heat_of(double error, double explained) {
  if (!std::isfinite(error)) return 1;
  if (!(explained > 0) || !(error > 0)) return 0;
  const double beyond = std::log10(error / explained);
  return beyond > 0 ? 0.5 + beyond / 8 : 0.12 * std::max(0.0, 1 + beyond / 3);
}

std::string operations(const Diagnosis& d) {
  if (d.operations.empty()) return {};
  std::vector<std::string> columns, rows;
  std::vector<HeatCell> cells;
  int last = 0;
  for (const OperationCell& o : d.operations) last = std::max(last, o.layer);
  for (int layer = 0; layer <= last; ++layer) columns.push_back(std::to_string(layer));
  for (const OperationCell& o : d.operations) {
    auto row = std::find(rows.begin(), rows.end(), o.role);
    if (row == rows.end()) row = rows.insert(rows.end(), o.role);
    cells.push_back({o.layer, static_cast<int>(row - rows.begin()), heat_of(o.error, o.explained),
                     fmt::format("{} of layer {}: distance {:.2g}, explained {:.2g}", o.role, o.layer,
                                 o.error, o.explained),
                     o.error > o.explained ? "!" : ""});
  }
  return "<h2>Operation by layer</h2>\n<p class=\"soft\">How far each value is from float64's, over what "
         "rounding "
         "explains of it, with what it inherited counted as explained. Red and ! are beyond.</p>\n" +
         heat_map("Distance over what is explained", columns, rows, cells);
}

std::string layers(const Diagnosis& d) {
  if (d.layers.empty()) return {};
  std::vector<double> x;
  Series expected{"float64", {}}, observed{"observed", {}}, error{"distance", {}};
  Table t({"layer", "rms, float64", "rms, observed", "distance"});
  for (const LayerRow& r : d.layers) {
    x.push_back(r.layer);
    expected.y.push_back(r.expected_rms), observed.y.push_back(r.observed_rms), error.y.push_back(r.error);
    t.row({std::to_string(r.layer), number(r.expected_rms), number(r.observed_rms), number(r.error)});
  }
  return "<h2>The residual stream, layer by layer</h2>\n" +
         line_chart("Magnitude: root mean square after each layer", "layer", x, {expected, observed}, true) +
         line_chart("Error: relative distance from float64 after each layer", "layer", x, {error}, true) +
         "<details><summary>Numbers</summary>" + t.take() + "</details>\n";
}

std::string depths(const Diagnosis& d) {
  if (d.depths.empty()) return {};
  Table t({"layers", "token", "float64's", "logits from", "to", "float64's from", "to", "entropy",
           "float64's", "KL"});
  for (const inspect::DepthRow& r : d.depths)
    t.row({std::to_string(r.layers), d.text_of(r.observed.top), d.text_of(r.expected.top),
           number(r.observed.min), number(r.observed.max), number(r.expected.min), number(r.expected.max),
           number(r.observed.entropy), number(r.expected.entropy), number(r.divergence)});
  return "<h2>If the model ended after so many layers</h2>\n" + t.take();
}

std::string logits(const Diagnosis& d) {
  if (!d.logits) return {};
  const LogitsHealth& l = *d.logits;
  Table t({"logits of the last token", "observed", "float64"});
  t.row({"top token", d.text_of(l.observed.top), d.text_of(l.expected.top)});
  t.row({"least", number(l.observed.min), number(l.expected.min)});
  t.row({"greatest", number(l.observed.max), number(l.expected.max)});
  t.row({"entropy, nats", number(l.observed.entropy), number(l.expected.entropy)});
  t.row({"KL, nats", number(l.divergence), ""});
  Table best({"rank", "observed", "logit", "float64", "logit"});
  const std::vector<int32_t> a = largest(l.observed_row, kTopTokens), b = largest(l.expected_row, kTopTokens);
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    best.row({std::to_string(i + 1), d.text_of(a[i]), number(l.observed_row[static_cast<size_t>(a[i])]),
              d.text_of(b[i]), number(l.expected_row[static_cast<size_t>(b[i])])});
  return "<h2>The logits</h2>\n" + t.take() + best.take() +
         histogram("Distribution of the last token's logits", l.expected_row, "float64", l.observed_row,
                   "observed");
}

/// 1e-9 nats and less are nothing, 1 is everything.
double heat_of_divergence(double kl) {
  return std::isfinite(kl) ? (std::log10(std::max(kl, 1e-9)) + 9) / 9 : 1;
}

std::string precision(const Diagnosis& d) {
  if (!d.precision) return {};
  const PrecisionStudy& s = *d.precision;
  std::string html = fmt::format(
      "<h2>What precision costs</h2>\n<p class=\"soft\">KL from float64 in nats and how often the next token "
      "agrees, over {} "
      "positions. Every sum of a product or norm is rounded to its type after each addition.</p>\n",
      s.positions);
  std::vector<std::string> columns, rows;
  for (const DType t : kPrecisions) columns.push_back(fmt::format("{} sums", name(t)));
  std::vector<HeatCell> cells;
  for (size_t i = 0; i < s.matrix.size(); ++i) {
    const PrecisionRow& r = s.matrix[i];
    if (i % columns.size() == 0)
      rows.push_back(
          fmt::format("{}, residual {}", name(r.precision.activations), name(r.precision.residual)));
    const std::string text =
        fmt::format("{:.1e} · {:.0f} %", r.distance.divergence, 100 * r.distance.agreement);
    cells.push_back({static_cast<int>(i % columns.size()), static_cast<int>(rows.size() - 1),
                     heat_of_divergence(r.distance.divergence), text, text});
  }
  html += heat_map("Activations and residual stream (rows), accumulation (columns)", columns, rows, cells);
  Table t({"computed in float64", "KL of the rest", "next token agrees", "explains"});
  t.row({"nothing", number(s.as_asked.divergence), fmt::format("{:.0f} %", 100 * s.as_asked.agreement), ""});
  for (const auto* part : {&s.operations, &s.layers})
    for (const SensitivityRow& r : *part)
      t.row({r.part, number(r.distance.divergence), fmt::format("{:.0f} %", 100 * r.distance.agreement),
             fmt::format("{:.1f} %", 100 * r.share)});
  return html + "<h2>Where the error comes from</h2>\n" + t.take();
}

}  // namespace

void write_page(const std::string& path, const Diagnosis& d) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\n"
      "<title>{0}</title><style>{1}</style></head>\n<body{2}>\n<h1>{0}</h1>\n<p class=\"verdict\">{3}</p>\n",
      d.is_healthy() ? "Healthy" : "Fault found", kStyle, d.is_healthy() ? " class=\"healthy\"" : "",
      escaped_html(verdict(d)));
  html += fmt::format("<p class=\"soft\">{}{}, {} tokens, {}. Written by tl diagnose.</p>\n<h2>Checks</h2>\n",
                      d.info.program.empty() ? "" : escaped_html(d.info.program) + " on ",
                      escaped_html(d.info.model), d.info.tokens.size(), escaped_html(d.info.device));
  html += checks(d) + hypotheses(d.fault) + operations(d) + layers(d) + depths(d) + logits(d) + precision(d);
  AtomicFile file(path);
  file.write(html + "</body></html>\n");
  file.commit();
}

}  // namespace tl::cli

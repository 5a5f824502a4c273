// tl compare A.tlt B.tlt: two runs side by side.
#include "inspect/compare.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/json.h"
#include "cli/output.h"
#include "inspect/trace_file.h"

namespace tl::cli {

namespace {

using inspect::Comparison;
using inspect::Pair;
using inspect::Recording;
using nlohmann::ordered_json;

struct CompareCommand {
  std::string a, b, map;
  std::vector<std::string> noise, show;
  bool json = false, all = false;
};

const inspect::Record& record(const Recording& recording, int number) {
  return recording.records[static_cast<size_t>(number)];
}

bool is_shown(const std::string& name, const CompareCommand& options) {
  if (options.show.empty()) return options.all || name.find('#') == std::string::npos;
  for (const std::string& pattern : options.show)
    if (inspect::matches(pattern, name)) return true;
  return false;
}

/// "B's name" where it is another one, and what else there is to say.
std::string remark(const Pair& pair, const Recording& a, const Recording& b) {
  std::string text;
  if (record(a, pair.a).name != record(b, pair.b).name) text = "= " + record(b, pair.b).name;
  if (!pair.note.empty()) text += (text.empty() ? "" : "; ") + pair.note;
  return text;
}

void print_table(const Comparison& c, const Recording& a, const Recording& b, const CompareCommand& options) {
  size_t width = 4;
  for (const Pair& pair : c.pairs)
    if (is_shown(record(a, pair.a).name, options)) width = std::max(width, record(a, pair.a).name.size());
  fmt::print("   {:{}}  {:>9}  {:>11}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}\n", "name", width, "NMSE", "cosine",
             "max abs", "max rel", "ULP", "distance", "explained");
  for (size_t i = 0; i < c.pairs.size(); ++i) {
    const Pair& pair = c.pairs[i];
    const bool is_first = static_cast<int>(i) == c.first;
    if (!is_first && !is_shown(record(a, pair.a).name, options)) continue;
    fmt::print("{:2} {:{}}", is_first ? ">>" : pair.beyond ? " !" : "", record(a, pair.a).name, width);
    if (pair.values) {
      const inspect::Difference& d = *pair.values;
      fmt::print("  {:>9.3g}  {:>11.9f}  {:>9.3g}  {:>9.3g}  {:>9.3g}", d.nmse, d.cosine, d.max_abs,
                 d.max_rel, d.max_ulp);
    } else {
      fmt::print("  {:>9}  {:>11}  {:>9}  {:>9}  {:>9}", "-", "-", "-", "-", "-");
    }
    fmt::print("  {:>9}  {:>9.3g}  {}\n", fmt::format("{}{:.3g}", pair.values ? "" : ">=", pair.error),
               pair.explained, remark(pair, a, b));
  }
}

void print_verdict(const Comparison& c, const Recording& a, const Recording& b) {
  size_t without_values = 0;
  for (const Pair& pair : c.pairs) without_values += !pair.values;
  if (without_values > 0)
    fmt::print(
        "{} of {} aligned values were compared by their statistics only, which bound their distance from "
        "below; "
        "record both with --full '*' for the rest.\n",
        without_values, c.pairs.size());
  fmt::print("{} values aligned; {} of the first trace and {} of the second found no partner.\n",
             c.pairs.size(), c.only_a.size(), c.only_b.size());
  if (c.first < 0) {
    fmt::print("No divergence beyond what rounding explains.\n");
    return;
  }
  const Pair& pair = c.pairs[static_cast<size_t>(c.first)];
  const inspect::Record &expected = record(a, pair.a), &found = record(b, pair.b);
  fmt::print(
      "First divergence beyond what rounding explains: {} ({}{}), distance {}{:.3g}, explained {:.3g}.\n",
      expected.name, found.op, found.place.empty() ? "" : ", " + found.place, pair.values ? "" : "at least ",
      pair.error, pair.explained);
}

ordered_json to_json(const Pair& pair, const Recording& a, const Recording& b) {
  ordered_json j = {{"a", record(a, pair.a).name}, {"b", record(b, pair.b).name},
                    {"op", record(b, pair.b).op},  {"distance", pair.error},
                    {"explained", pair.explained}, {"beyond", pair.beyond}};
  if (!pair.note.empty()) j["note"] = pair.note;
  if (pair.values) {
    const inspect::Difference& d = *pair.values;
    j.update({{"nmse", d.nmse},
              {"cosine", d.cosine},
              {"max_abs", d.max_abs},
              {"max_rel", d.max_rel},
              {"max_ulp", d.max_ulp},
              {"worst", d.worst},
              {"not_finite", d.not_finite}});
  }
  return j;
}

void print_json_report(const Comparison& c, const Recording& a, const Recording& b) {
  ordered_json j;
  j["inputs_differ"] = c.inputs;
  j["first"] =
      c.first < 0 ? ordered_json() : ordered_json(record(a, c.pairs[static_cast<size_t>(c.first)].a).name);
  j["values"] = ordered_json::array();
  for (const Pair& pair : c.pairs) j["values"].push_back(to_json(pair, a, b));
  const auto names = [](const Recording& recording, const std::vector<int>& numbers) {
    ordered_json list = ordered_json::array();
    for (const int n : numbers) list.push_back(record(recording, n).name);
    return list;
  };
  j["only_a"] = names(a, c.only_a);
  j["only_b"] = names(b, c.only_b);
  print_json(j);
}

void compare_command(const CompareCommand& options) {
  const Recording a = inspect::read_trace(options.a), b = inspect::read_trace(options.b);
  inspect::CompareOptions how;
  if (!options.map.empty()) how.names = inspect::read_name_map(options.map);
  std::vector<Recording> noise;
  noise.reserve(options.noise.size());
  for (const std::string& path : options.noise)
    how.noise.push_back(&noise.emplace_back(inspect::read_trace(path)));
  const Comparison c = inspect::compare(a, b, how);
  if (options.json) {
    print_json_report(c, a, b);
  } else {
    if (!c.inputs.empty()) fmt::print("The runs were given different inputs: {}.\n", c.inputs);
    print_table(c, a, b, options);
    print_verdict(c, a, b);
  }
  if (c.first >= 0 || !c.inputs.empty()) throw Found();
}

}  // namespace

void add_compare(CLI::App& app) {
  auto options = std::make_shared<CompareCommand>();
  CLI::App* command = app.add_subcommand("compare", "Compare two traces; find the first divergence");
  command->add_option("A", options->a, "The reference: a trace")->required()->option_text("A.tlt");
  command->add_option("B", options->b, "The trace to judge")->required()->option_text("B.tlt");
  command->add_option("--map", options->map, "Names that belong together: lines of a name in A and one in B")
      ->option_text("FILE");
  command
      ->add_option(
          "--noise", options->noise,
          "A trace of A's run disturbed by rounding (tl trace --perturb); measures what rounding explains "
          "(may be repeated)")
      ->option_text("FILE.tlt")
      ->allow_extra_args(false);
  command->add_option("--show", options->show, "Print the values whose names match (may be repeated)")
      ->option_text("GLOB")
      ->allow_extra_args(false);
  command->add_flag("--all", options->all, "Print values that have no name of their own in the program, too");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer("Exit status: 0 when rounding explains every difference, 3 when it does not.");
  command->callback([options] { compare_command(*options); });
}

}  // namespace tl::cli

// Plots as inline SVG, for pages that load nothing. Colours are CSS variables of the page: --a, --b (series),
// --grid, --ink, and --hot for marks.
#pragma once

#include <string>
#include <vector>

namespace tl::cli {

/// One line of a chart; NaN and infinite values are left out.
struct Series {
  std::string name;
  std::vector<double> y;
};

/// Lines over `x`. With `log` the y axis is logarithmic, and values that are not positive are left out.
std::string line_chart(const std::string& title, const std::string& x_title, const std::vector<double>& x,
                       const std::vector<Series>& series, bool log);

/// How often values fall into each of as many bins as there are between the least and the greatest of both.
std::string histogram(const std::string& title, const std::vector<double>& a, const std::string& a_name,
                      const std::vector<double>& b, const std::string& b_name);

/// One cell of a table of colours.
struct HeatCell {
  int column = 0, row = 0;
  double heat = 0;    ///< 0: as the page, 1: as hot as it gets
  std::string title;  ///< shown when pointed at
  std::string text;   ///< in the cell; may be empty
};

std::string heat_map(const std::string& title, const std::vector<std::string>& columns,
                     const std::vector<std::string>& rows, const std::vector<HeatCell>& cells);

/// `text` with &, <, > and quotes as HTML wants them.
std::string escaped_html(const std::string& text);

}  // namespace tl::cli

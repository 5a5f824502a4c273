// Pages of documentation: what a function, or a part of the language, does.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tl::lang {

/// A page, as `tl doc` shows it. Rows of native functions write it as one text:
///
///   Exponentials that add up to 1 along an axis.        the summary: one sentence in one line
///
///   Where the mask is false …                           paragraphs, parted by blank lines
///
///   shapes: x[…] -> […]                                 each of these sections may be left out
///   dtypes: floats stay, integers become float32
///   formula: y = e^x / sum(e^x)
///   example:
///   > softmax([0.0, 0.0])                               code, one program per run of such lines,
///   [0.5000, 0.5000]                                    and what it prints and its value
///   source: numpy.exp
///   see: log_softmax, sigmoid
///
/// A section goes on until the next one; only the lines of formulas and examples are kept as they are.
struct Documentation {
  struct Example {
    std::string code;    ///< without the marks
    std::string output;  ///< lines, each with its end; "" if it shows nothing
  };
  std::string summary;
  std::vector<std::string> paragraphs;
  std::string shapes, dtypes, formula;
  std::vector<Example> examples;
  std::string source;                ///< the paper, or whose convention it follows
  std::vector<std::string> related;  ///< names of other pages
};

Documentation parse_documentation(std::string_view text);

/// Documentation with its title.
struct Page {
  std::string name;
  std::vector<std::string> aliases;  ///< other names of it
  std::string group;                 ///< the subject it is listed under
  std::string signature;             ///< how it is written; of a function with `name` alone
  Documentation doc;
};

}  // namespace tl::lang

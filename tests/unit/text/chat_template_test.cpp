// Chat templates against Python's jinja2 (tools/reference/templates_golden.py), and what jinja2 would not
// refuse.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace tl {
namespace {

using Json = nlohmann::ordered_json;

const std::string kFolder = std::string(TL_SOURCE_DIR) + "/tests/golden/text/";

ChatTemplateOptions at_a_fixed_time() {
  ChatTemplateOptions options;
  options.now.emplace();
  options.now->tm_year = 124;
  options.now->tm_mon = 6;
  options.now->tm_mday = 26;
  options.now->tm_hour = 12;
  options.now->tm_min = 34;
  options.now->tm_sec = 56;
  return options;
}

/// What rendering gives, or "error: " and the message.
std::string outcome(const std::string& text, const std::string& variables = "{}") {
  try {
    return ChatTemplate::parse(text, "t").render_json(variables, at_a_fixed_time());
  } catch (const Error& e) {
    return std::string("error: ") + e.what();
  }
}

void expect_as_python(const Json& c, const std::string& text, const Json& variables,
                      const std::string& label) {
  const std::string ours = outcome(text, variables.dump());
  if (c.contains("output")) {
    EXPECT_EQ(ours, c["output"].get<std::string>()) << label << "\n" << text;
    return;
  }
  EXPECT_TRUE(ours.starts_with("error: t:"))
      << label << "\n"
      << text << "\ngave " << ours << "\nbut Python: " << c["by_python"];
  const std::string error = c["error"];
  if (error == "syntax" || error == "runtime") return;
  EXPECT_NE(ours.find(error), std::string::npos) << label << ": " << ours;
}

class Golden : public testing::Test {
 protected:
  Json golden_ = Json::parse(read_file(kFolder + "templates.json"));
};

TEST_F(Golden, TemplatesOfModels) {
  std::set<std::string> seen;
  size_t n = 0;
  for (const Json& c : golden_["cases"]) {
    if (!c.contains("template")) continue;
    const std::string name = c["template"], conversation = c["conversation"];
    Json variables = golden_["shared"]["conversations"][conversation];
    variables.update(c["variables"]);
    variables["bos_token"] = "<s>";
    variables["eos_token"] = "</s>";
    expect_as_python(c, read_file(kFolder + "templates/" + name + ".jinja"), variables,
                     name + " " + conversation);
    seen.insert(name);
    ++n;
  }
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_GE(n, 300u);
}

TEST_F(Golden, EveryFeature) {
  size_t n = 0;
  for (const Json& c : golden_["cases"]) {
    if (!c.contains("text")) continue;
    expect_as_python(c, c["text"], golden_["shared"]["variables"], "snippet");
    ++n;
  }
  EXPECT_GE(n, 100u);
}

TEST(ChatTemplate, RendersMessages) {
  const ChatTemplate t = ChatTemplate::parse(read_file(kFolder + "templates/chatml.jinja"), "chatml");
  const std::vector<ChatMessage> messages = {{"system", "Be brief."}, {"user", "Hi"}};
  ChatTemplateOptions options;
  EXPECT_EQ(
      t.render(messages, options),
      "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  options.add_generation_prompt = false;
  EXPECT_EQ(t.render(messages, options),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  EXPECT_EQ(ChatTemplate::parse("{{ bos_token }}|{{ eos_token }}", "t").render({}, options), "<s>|</s>");
  EXPECT_EQ(ChatTemplate::parse("{{ strftime_now('%Y') }}", "t").render({}, options).size(), 4u);
}

TEST(ChatTemplate, ListsMayGrow) {
  EXPECT_EQ(outcome("{% set l = [] %}{{ l.append(1) or '' }}{{ l }}"), "[1]");
}

TEST(ChatTemplate, ErrorsPointAtTheirPlace) {
  EXPECT_EQ(outcome("a\n{{ m.x }}"),
            "error: t:2:4: error: 'm' is undefined\n    2 | {{ m.x }}\n      |    ^^^");
  EXPECT_TRUE(outcome("{{ 1 | uper }}").starts_with("error: t:1:8: error: unknown filter 'uper'\n"));
  EXPECT_NE(outcome("{{ 1 | uper }}").find("did you mean 'upper'?"), std::string::npos);
  EXPECT_NE(outcome("{{ 1 is strng }}").find("unknown test 'strng'"), std::string::npos);
  EXPECT_NE(outcome("{% esle %}").find("did you mean 'else'?"), std::string::npos);
  EXPECT_NE(outcome("{% include 'x' %}").find("the block {% include %} is not understood here"),
            std::string::npos);
  EXPECT_NE(outcome("{{ raise_exception('no ' ~ 7) }}").find("the template refuses this conversation: no 7"),
            std::string::npos);
  EXPECT_NE(outcome("{{ '' + 1 }}").find("'+' does not apply to a str and a int"), std::string::npos);
}

/// Texts that Python accepts, or fails at in other ways, and this program refuses, each with its own words.
TEST(ChatTemplate, RefusedHere) {
  const auto says = [](const std::string& text, const std::string& message) {
    const std::string got = outcome(text);
    EXPECT_TRUE(got.starts_with("error: ") && got.find(message) != std::string::npos) << text << "\n" << got;
  };
  says("{% for i in [] recursive %}{% endfor %}", "recursive loops are not understood");
  says("{{ range(*[1]) }}", "arguments with * are not understood");
  says("{{ f(a=1, 2) }}", "an argument without a name follows one with a name");
  says("{{ 99999999999999999999 }}", "does not fit into 64 bits");
  says("{{ 9223372036854775807 + 1 }}", "the number is too large");
  says("{{ 2 ** 64 }}", "the number is too large");
  says("{{ (-9223372036854775807 - 1) // -1 }}", "the number is too large");
  says("{{ 1[1:2:3:4] }}", "at most two colons");
  says("{{ 'a'.rsplit(none, 1) }}", "needs a separator here");
  says("{{ strftime_now('%A' * 100) }}", "longer than 255 bytes");
  says("{{ 1 | int(base=99) }}", "from 2 to 36");
  says("{{ [1] | map }}", "'map' needs the name of a filter");
  says("{{ [1] | map('nosuch') | list }}", "unknown filter 'nosuch'");
  says("{{ {} | dictsort(by='x') }}", "must be 'key' or 'value'");
  says("{{ 1 | round(method='x') }}", "must be 'common', 'ceil' or 'floor'");
  says("{{ 'a' | replace(1) }}", "'replace' needs the argument 'new'");
  says("{{ 'a' | trim(nope='x') }}", "'trim' has no argument 'nope'");
  says("{{ 'a'.startswith(1) }}", "must be a str, not a int");
  says("{{ 'a' | indent(x=1) }}", "it takes (width,first,blank)");
  says("{% set a.b = 1 %}", "attributes of a undefined cannot be set");
  says("{{ namespace() | items }}", "items needs a dict");
  says("{{ (1,).append(2) }}", "a tuple cannot grow");
}

TEST(ChatTemplate, BadVariables) {
  EXPECT_NE(outcome("x", "[1]").find("the variables for t are no JSON object"), std::string::npos);
  EXPECT_NE(outcome("x", "{").find("the variables for t are no JSON: "), std::string::npos);
  std::string deep = "{\"a\": ";
  for (int i = 0; i < 200; ++i) deep += "[";
  for (int i = 0; i < 200; ++i) deep += "]";
  EXPECT_NE(outcome("x", deep + "}").find("nest more than 100 deep"), std::string::npos);
}

/// Templates that would take for ever, all memory or all of the stack end in an error.
TEST(ChatTemplate, HostileTemplatesEnd) {
  const auto says = [](const std::string& text, const std::string& message) {
    const std::string got = outcome(text);
    EXPECT_TRUE(got.starts_with("error: ") && got.find(message) != std::string::npos)
        << text.substr(0, 200) << "\n"
        << got.substr(0, 500);
  };
  const auto times = [](int n, const std::string& s) {
    std::string out;
    for (int i = 0; i < n; ++i) out += s;
    return out;
  };
  says("{% for i in range(99999999) %}{% endfor %}", "rendering takes more than");
  says("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
       "rendering takes more than");
  says("{{ 'abcdefgh' * 1000000000000 }}", "MiB of memory");
  says("{{ [1] * 1000000000000 }}", "rendering takes more than");
  says("{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
       "MiB of memory");
  says("{{ 'a' | indent(9999999999) }}", "MiB of memory");
  says("{{ [1] | tojson(indent=999999999999) | length }}{{ ('a' * 99999).replace('', 'b' * 99999) }}",
       "MiB of memory");
  says("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests more than");
  says("{{ " + times(5000, "(") + "1" + times(5000, ")") + " }}", "nested more than");
  says("{{ " + times(5000, "[") + "1" + times(5000, "]") + " }}", "nested more than");
  says("{{ " + times(5000, "not ") + "1 }}", "nested more than");
  says("{{ " + times(5000, "-") + "1 }}", "nested more than");
  says("{{ 1" + times(100000, " + 1") + " }}", "nests more than");
  says("{{ a" + times(100000, ".a") + " }}", "nests more than");
  says(times(5000, "{% if 1 %}") + times(5000, "{% endif %}"), "nested more than");
  says("{% if 0 %}" + times(5000, "{% elif 0 %}") + "{% endif %}", "nests more than");
  says("{% set l = [] %}{% set x = l.append(l) %}{{ l }}", "nested more than");
  says("{% set l = [] %}{% set x = l.append(l) %}{{ l | tojson }}", "nested more than");
  says("{% set l = [] %}{% set x = l.append(l) %}{% set m = [] %}{% set x = m.append(m) %}{{ l == m }}",
       "nested more than");
  says("{% set l = [] %}{% set x = l.append(l) %}{{ l | map(" + times(500, "'map',") + "'list') | list }}",
       "nest more than");
  const std::string bomb =
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}";
  says(bomb + "{{ ns.l }}", "rendering takes more than");
  says(bomb + "{{ ns.l == ns.l }}", "rendering takes more than");
  says(std::string(2 << 20, 'a'), "more than 1048576 are refused");
  EXPECT_EQ(outcome("{{ 'a'" + times(10000, " ~ 'a'") + " }}"),
            std::string(10001, 'a'));  // long, but harmless
}

}  // namespace
}  // namespace tl

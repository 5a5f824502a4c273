// Every built-in function has a whole page of documentation, and its examples give what it says.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "formats/gguf.h"
#include "formats/synth.h"
#include "lang/interpreter.h"
#include "lang/topics.h"
#include "library/model_functions.h"
#include "library/testing.h"
#include "unit/library/evaluate.h"

namespace tl::test {
namespace {

/// The same model with a chat template, which synthetic ones lack.
void write_chat_model(const std::string& tiny, SynthOptions options, const std::string& path) {
  GgufWriter vocabulary(path);
  const auto model = open_model_file(tiny);
  for (const MetaEntry& entry : model->metadata()) vocabulary.set(entry.key, entry.value);
  vocabulary.set("tokenizer.chat_template",
                 MetaValue::of_string("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
                                      "{% if add_generation_prompt %}<|assistant|>{% endif %}"));
  vocabulary.finish();
  options.tokenizer = path;
  synthesise_model(path, options);
}

/// A folder with the models that the examples open, where they run.
const std::string& example_folder() {
  static const std::string folder = [] {
    const auto path = std::filesystem::temp_directory_path() / "tl-doc-examples";
    std::filesystem::create_directories(path);
    SynthOptions options;
    options.n_layers = 2;
    options.hidden = 64;
    options.ffn = 96;
    options.n_heads = 4;
    options.n_kv_heads = 2;
    options.vocab = 300;
    options.type = DType::q8_0;
    synthesise_model((path / "tiny.gguf").string(), options);
    write_chat_model((path / "tiny.gguf").string(), options, (path / "chat.gguf").string());
    return path.string();
  }();
  return folder;
}

class ExampleHost : public RuntimeHost {
 public:
  explicit ExampleHost(Session& session) : RuntimeHost(session, options()) {}
  void print(std::string_view text) override { output += text; }
  std::string input(std::string_view) override { return "Ada"; }
  std::string output;

 private:
  static HostOptions options() {
    HostOptions options;
    options.programs_dir = TL_SOURCE_DIR "/models";
    options.backend = [](const std::string&) -> const Backend& { return reference_backend(); };
    return options;
  }
};

/// What the code, a program or statements, prints; then the value of the statements, if they have one.
std::string run(const std::string& code, const Backend& backend) {
  std::filesystem::current_path(example_folder());
  Session session(backend, &reference_backend(), SessionOptions{.n_threads = 1});
  ExampleHost host(session);
  const bool is_program = code.find("\nmain {") != std::string::npos;
  const auto program = lang::Program::from_text(
      "example.tl", is_program ? code : "fn example() {\n" + code + "}\n", standard_library());
  program->require_ok();
  lang::Interpreter interpreter(program, host);
  if (is_program) {
    interpreter.run_main({});
    for (const auto& test : program->tests()) interpreter.run_test(*test);
    return host.output;
  }
  const lang::Value value = interpreter.call("example", {});
  if (value.is_nothing()) return host.output;
  return host.output + interpreter.text(value) + "\n";
}

/// Subjects whose functions compute something that a formula says.
const std::set<std::string> kMathematics = {"Elementwise mathematics",
                                            "Activations",
                                            "Layers",
                                            "Attention and positions",
                                            "Losses",
                                            "Knowledge graphs",
                                            "Graph networks",
                                            "Reductions and order"};

bool is_about_tensors(const lang::NativeFunction& f) {
  using lang::ast::TypeKind;
  bool any = f.result.kind == TypeKind::tensor;
  for (const auto& p : f.parameters) any = any || p.type.kind == TypeKind::tensor || p.name == "dtype";
  return any;
}

/// Every page, the functions' first.
std::vector<const lang::Page*> pages() {
  std::vector<const lang::Page*> all;
  for (const lang::NativeFunction* f : standard_library().functions()) all.push_back(f);
  for (const lang::Page& page : lang::topics()) all.push_back(&page);
  return all;
}

class PageTest : public testing::TestWithParam<const lang::Page*> {};

TEST_P(PageTest, HasAllItsParts) {
  const lang::Page& page = *GetParam();
  const lang::Documentation& doc = page.doc;
  EXPECT_TRUE(doc.summary.ends_with('.')) << "the summary is one sentence in one line: " << doc.summary;
  EXPECT_LE(doc.summary.size(), 100u) << doc.summary;
  EXPECT_FALSE(doc.source.empty()) << "it names no source: a paper, or whose convention it follows";
  EXPECT_FALSE(doc.examples.empty()) << "it has no example";
  for (const std::string& name : doc.related)
    EXPECT_TRUE(standard_library().find(name) || lang::find_topic(name))
        << "it refers to " << name << ", which is not there";
  const lang::NativeFunction* f = standard_library().find(page.name);
  if (f != &page) return;
  bool shows_itself = false;
  for (const auto& example : doc.examples)
    shows_itself = shows_itself || example.code.find(f->name) != std::string::npos;
  EXPECT_TRUE(shows_itself) << "the examples show other functions";
  if (is_about_tensors(*f)) {
    EXPECT_FALSE(doc.shapes.empty()) << "it does not speak of shapes";
    EXPECT_FALSE(doc.dtypes.empty()) << "it does not speak of element types";
  }
  EXPECT_FALSE(kMathematics.contains(f->group) && doc.formula.empty()) << "it has no formula";
}

TEST_P(PageTest, HasExamplesThatHold) {
  for (const auto& example : GetParam()->doc.examples)
    for (const Backend* backend : {&cpu_backend(), &reference_backend()}) {
      SCOPED_TRACE(example.code);
      std::string actual;
      ASSERT_NO_THROW(actual = run(example.code, *backend));
      EXPECT_EQ(actual, example.output);
    }
}

INSTANTIATE_TEST_SUITE_P(All, PageTest, testing::ValuesIn(pages()),
                         [](const auto& test) { return test.param->name; });

TEST(Documentation, NamesAreUnique) {
  std::set<std::string> names;
  for (const lang::Page* page : pages()) EXPECT_TRUE(names.insert(page->name).second) << page->name;
}

TEST(Documentation, HasEverySection) {
  const lang::Documentation page = lang::parse_documentation(
      "One sentence.\n\nA paragraph\nof two lines.\n\nAnother.\n\nshapes: x[n]\n  -> [n]\ndtypes: "
      "any\nformula:\n"
      "y = x\n  + 1\nexample:\n> let x = 1\n> x\n1\n> f()\nsource: here\nsee: a, b\n");
  EXPECT_EQ(page.summary, "One sentence.");
  EXPECT_EQ(page.paragraphs, (std::vector<std::string>{"A paragraph of two lines.", "Another."}));
  EXPECT_EQ(page.formula, "y = x\n  + 1");
  ASSERT_EQ(page.examples.size(), 2u);
  EXPECT_EQ(page.examples[0].code, "let x = 1\nx\n");
  EXPECT_EQ(page.examples[0].output, "1\n");
  EXPECT_EQ(page.examples[1].code, "f()\n");
  EXPECT_EQ(page.examples[1].output, "");
  EXPECT_EQ(page.source, "here");
  EXPECT_EQ(page.related, (std::vector<std::string>{"a", "b"}));
}

}  // namespace
}  // namespace tl::test

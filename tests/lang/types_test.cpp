// What the checker knows of values before a program runs, as describe_type() tells it.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "lang/ast.h"
#include "lang/program.h"
#include "library/library.h"
#include "library/model_functions.h"

namespace tl::test {
namespace {

using namespace lang;

/// The types of the variables that `body` declares as a function's body, by name.
std::map<std::string, std::string> types_in(const std::string& signature, const std::string& body) {
  const auto program =
      Program::from_text("test.tl", "fn f(" + signature + ") {\n" + body + "\n}\n", standard_library());
  for (const Diagnostic& d : program->diagnostics()) ADD_FAILURE() << render(d);
  const LoadedModule& module = *program->modules().back();
  std::map<std::string, std::string> types;
  for (const auto& s : module.ast->functions.at(0)->body.statements) {
    if (s->kind == ast::StmtKind::let)
      for (const auto& n : ast::as<ast::Let>(*s).names) types[n->text] = describe_type(module, *n);
    if (s->kind == ast::StmtKind::equation) {
      const auto& target = *ast::as<ast::Equation>(*s).target;
      types[target.text] = describe_type(module, target);
    }
  }
  return types;
}

std::string type_of(const std::string& signature, const std::string& value) {
  return types_in(signature, "let it = " + value).at("it");
}

TEST(Types, OfPlainValues) {
  EXPECT_EQ(type_of("", "3"), "int");
  EXPECT_EQ(type_of("", "3 + 1.5"), "float");
  EXPECT_EQ(type_of("", "1 < 2"), "bool");
  EXPECT_EQ(type_of("", "\"a\" + \"b\""), "string");
  EXPECT_EQ(type_of("", "[1, 2]"), "list");
  EXPECT_EQ(type_of("", "{a: 1}"), "record");
  EXPECT_EQ(type_of("", "len"), "function");
  EXPECT_EQ(type_of("m: model", "m"), "model");
  EXPECT_EQ(type_of("x", "x"), "");
  EXPECT_EQ(type_of("x", "x + 1"), "");
}

TEST(Types, SymbolsFlowThroughOperations) {
  const std::string xw = "x: float32[n, d], w: float32[m, d]";
  EXPECT_EQ(type_of(xw, "x"), "float32[n, d]");
  EXPECT_EQ(type_of(xw, "linear(x, w)"), "float32[n, m]");
  EXPECT_EQ(type_of(xw, "x @ transpose(w)"), "float32[n, m]");
  EXPECT_EQ(type_of(xw, "softmax(x * 2 + 1, axis: 0)"), "float32[n, d]");
  EXPECT_EQ(type_of(xw, "x > 0"), "bool[n, d]");
  EXPECT_EQ(type_of(xw, "sum(x, axis: 1)"), "float32[n]");
  EXPECT_EQ(type_of(xw, "sum(x, axis: 1, keepdim: true)"), "float32[n, 1]");
  EXPECT_EQ(type_of(xw, "x[0]"), "float32[d]");
  EXPECT_EQ(type_of(xw, "x[:, 0]"), "float32[n]");
  EXPECT_EQ(type_of(xw, "unsqueeze(x, 0)"), "float32[1, n, d]");
  EXPECT_EQ(type_of(xw, "argmax(x, 0)"), "int64[d]");
  EXPECT_EQ(type_of(xw, "x as float16"), "float16[n, d]");
  EXPECT_EQ(type_of(xw, "zeros([dim(m), dim(n), 4])"), "float32[m, n, 4]");
  EXPECT_EQ(type_of(xw, "zeros([shape(w)[0], 2])"), "float32[m, 2]");
}

TEST(Types, WhatDependsOnSizesIsNotGuessed) {
  const std::string x = "x: float32[n, d], k: int";
  EXPECT_EQ(type_of(x, "x[0:5]"), "float32[?, d]");
  EXPECT_EQ(type_of(x, "flatten(x)"), "float32[?]");
  EXPECT_EQ(type_of(x, "concat([x, x], axis: 0)"), "float32[?, d]");
  EXPECT_EQ(type_of(x, "squeeze(x)"), "float32");
  EXPECT_EQ(type_of(x, "zeros([k, 3])"), "float32[?, 3]");
  EXPECT_EQ(type_of(x, "zeros([dim(n) + 1])"), "float32[?]");
  EXPECT_EQ(type_of(x, "reshape(x, [-1, 4])"), "float32[?, 4]");
  EXPECT_EQ(type_of(x, "x[k]"), "float32[d]");
  EXPECT_EQ(type_of("x: float32[?, 3]", "x + x"), "float32[?, 3]");
  EXPECT_EQ(type_of("x: float32[..., 3]", "x"), "float32");
}

TEST(Types, OfEquations) {
  const std::string signature = "x: float32[n, d], w: float32[m, d], k: int, c";
  const auto type = [&](const std::string& equation) { return types_in(signature, equation).at("y"); };
  EXPECT_EQ(type("y[i, j] = x[i, k'] * w[j, k']"), "float32[n, m]");
  EXPECT_EQ(type("y[i] = relu(x[i, j] x[i, j])"), "float32[n]");
  EXPECT_EQ(type("y[i, j.] = softmax(x[i, j] / sqrt(dim(d))) where j <= i + k"), "float32[n, d]");
  EXPECT_EQ(type("y[j] max= x[i, j]"), "float32[d]");
  EXPECT_EQ(type("let y = x[i, j] * x[i, j]"), "float32[]");
  EXPECT_EQ(type("y[i] = 1 where i in 0..7"), "int64[7]");
  EXPECT_EQ(type("y[i] = 1 where i in 0..k"), "int64[?]");
  EXPECT_EQ(type("y[i, t] = x[i, t+u] * w[o, u]"), "float32[n, d]");
  EXPECT_EQ(type("y[i] = c[i] * 2"), "tensor");
  EXPECT_EQ(type("y[0] = x[i, j]"), "tensor");
}

TEST(Types, PartsOfLists) {
  const auto types =
      types_in("x: float32[4, d]", "let (a, b) = split(x, 2)\nlet rows = shape(x)[0]\nlet y = zeros([rows])");
  EXPECT_EQ(types.at("a"), "float32[2, d]");
  EXPECT_EQ(types_in("s: string", "let y = split(s, \",\")").at("y"), "list");
  EXPECT_EQ(types.at("rows"), "int");
  EXPECT_EQ(types.at("y"), "float32[4]");
}

TEST(Types, VariablesThatAreAssignedMayChange) {
  const auto types = types_in("", "let x = zeros([2])\nlet y = zeros([2])\nx = \"text\"");
  EXPECT_EQ(types.at("x"), "");
  EXPECT_EQ(types.at("y"), "float32[2]");
}

}  // namespace
}  // namespace tl::test

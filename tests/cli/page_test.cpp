// The page of tl diagnose --html, as text and in a browser. The browser is Debian's package chromium; without
// it those tests are skipped, and say so.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "cli/program.h"

namespace tl::test {
namespace {

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string page(const TempFolder& folder) {
  const std::string path = folder / "report.html";
  const Output r = run_tl({"diagnose", tiny_model(), "--tokens", "1,17,300,42,5,99,100,7,8", "--plant",
                           "silu-missing@1", "--precision", "--html", path});
  EXPECT_EQ(r.exit_code, 3) << r.out << r.err;
  return path;
}

TEST(Page, HoldsEverythingAndLoadsNothing) {
  const TempFolder folder;
  const std::string html = content(page(folder));
  for (const char* part :
       {"<!doctype html>", "FAULT FOUND: silu-missing", "Distance over what is explained",
        "Magnitude: root mean square", "Error: relative distance", "Distribution of the last token",
        "Activations and residual stream (rows)", "Where the error comes from", "prefers-color-scheme: dark",
        "width=device-width", "If the model ended"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
  // Of addresses only the name of SVG's namespace.
  const std::regex address("(src|href)=\"(?!data:)|url\\(|<script|@import");
  EXPECT_FALSE(std::regex_search(html, address));
  EXPECT_EQ(html.find("nan"), std::string::npos);
}

TEST(Page, SaysWhereItCannotBeWritten) {
  const Output r =
      run_tl({"diagnose", tiny_model(), "--tokens", "1,17,300", "--html", "/nowhere/report.html"});
  EXPECT_EQ(r.exit_code, 1) << r.out;
  EXPECT_NE(r.err.find("/nowhere/report.html"), std::string::npos) << r.err;
}

std::string quoted(std::string text) {
  for (const auto& [plain, entity] : {std::pair{"&", "&amp;"}, std::pair{"\"", "&quot;"}})
    for (size_t at = 0; (at = text.find(plain, at)) != std::string::npos; at += 5)
      text.replace(at, 1, entity);
  return text;
}

/// What a window of some width shows of a page.
struct Shown {
  int inner = 0, scrolled = 0;  ///< widths of the window and of what is in it
  std::string background, dom, messages;
  uintmax_t picture = 0;  ///< bytes
};

/// A browser's own window has a least width that phones are below: the page is shown in a frame.
Shown shown(const std::string& html, const TempFolder& folder, int width, bool dark) {
  const std::string path = write_file(
      folder / "frame.html",
      "<!doctype html><meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">"
      "<body style=\"margin:0\"><iframe style=\"border:0\" height=2400 width=" +
          std::to_string(width) + " srcdoc=\"" + quoted(html) +
          "\"></iframe><script>onload = () => { const w = frames[0]; "
          "document.body.dataset.probe = [w.innerWidth, w.document.documentElement.scrollWidth, "
          "w.getComputedStyle(w.document.body).backgroundColor].join(';') }</script></body>");
  const auto run = [&](const std::string& action, const std::string& out) {
    const std::string command =
        "timeout 120 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars "
        "--enable-logging=stderr "
        "--user-data-dir='" +
        (folder / "profile") + "' --window-size=1280,2400" +
        (dark ? " --blink-settings=preferredColorScheme=0 " : " --blink-settings=preferredColorScheme=1 ") +
        action + " 'file://" + path + "' >'" + out + "' 2>>'" + (folder / "messages") + "'";
    EXPECT_EQ(std::system(command.c_str()), 0) << command << content(folder / "messages");
  };
  Shown s;
  const std::string picture = folder / "page.png";
  run("--dump-dom", folder / "dom");
  run("--screenshot='" + picture + "'", folder / "nothing");
  s.dom = content(folder / "dom"), s.messages = content(folder / "messages");
  s.picture = std::filesystem::exists(picture) ? std::filesystem::file_size(picture) : 0;
  std::smatch probe;
  if (std::regex_search(s.dom, probe, std::regex("data-probe=\"(\\d+);(\\d+);([^\"]*)\""))) {
    s.inner = std::stoi(probe[1]), s.scrolled = std::stoi(probe[2]), s.background = probe[3];
  }
  return s;
}

TEST(Page, InABrowser) {
  if (std::system("command -v chromium >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "the Debian package chromium is not installed: the page was not looked at in a browser";
  const TempFolder folder;
  const std::string html = content(page(folder));
  std::string light_background;
  for (const bool dark : {false, true})
    for (const int width : {1280, 390}) {
      const Shown s = shown(html, folder, width, dark);
      EXPECT_EQ(s.inner, width);
      EXPECT_LE(s.scrolled, s.inner) << "the page is wider than a window of " << width;
      EXPECT_GT(s.picture, 20000u) << width;
      EXPECT_EQ(s.messages.find("CONSOLE"), std::string::npos) << s.messages;
      if (!dark)
        light_background = s.background;
      else
        EXPECT_NE(s.background, light_background) << "both themes look the same";
    }
}

}  // namespace
}  // namespace tl::test

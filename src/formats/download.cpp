#include "formats/download.h"

#include <sys/file.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include <curl/curl.h>
#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/error.h"
#include "base/file.h"

namespace tl {

namespace fs = std::filesystem;

namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// The SHA-256 in an ETag of 64 hexadecimal digits; empty if it is something else.
std::string sha256_of_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  const bool hex = etag.size() == 64 && etag.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  return hex ? lower(etag) : "";
}

std::string sha256_of_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) throw Error(path + ": cannot open: " + std::strerror(errno));
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  std::vector<unsigned char> chunk(1 << 20);
  for (size_t got; (got = std::fread(chunk.data(), 1, chunk.size(), file.get())) > 0;)
    EVP_DigestUpdate(context.get(), chunk.data(), got);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &size);
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

uint64_t size_of(const std::string& path) {
  std::error_code failure;
  const auto size = fs::file_size(path, failure);
  return failure ? 0 : size;
}

/// One transfer into the part file, which is locked for its time.
class Transfer {
 public:
  Transfer(std::string url, const std::string& target, std::string token, const PullCallback& progress)
      : url_(std::move(url)),
        target_(target),
        token_(std::move(token)),
        part_(target + ".part"),
        note_(target + ".part.validator"),
        progress_(progress) {
    file_ = std::fopen(part_.c_str(), "ab");
    if (file_ == nullptr) throw Error(part_ + ": cannot create: " + std::strerror(errno));
    if (::flock(::fileno(file_), LOCK_EX | LOCK_NB) != 0) {
      std::fclose(file_);
      throw Error(part_ + ": another program is fetching this model; wait for it to end");
    }
  }
  ~Transfer() {
    std::fclose(file_);
    if (size_of(part_) == 0) discard();
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  void run() {
    have_ = size_of(part_);
    validator_ = have_ > 0 && fs::exists(note_) ? read_file(note_) : "";
    if (have_ > 0 && validator_.empty()) restart();  // nothing says that the file is still the same
    perform();
    if (status_ == 416 || stale_) {  // the part does not fit what the server has now
      restart();
      perform();
    }
    finish();
  }

 private:
  void discard() {
    ::unlink(part_.c_str());
    ::unlink(note_.c_str());
  }

  void restart() {
    if (::ftruncate(::fileno(file_), 0) != 0) throw Error(part_ + ": cannot write: " + std::strerror(errno));
    have_ = 0;
    validator_.clear();
  }

  void perform() {
    const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
    if (!curl) throw Error("cannot start libcurl");
    curl_ = curl.get();
    status_ = 0;
    stale_ = cancelled_ = false;
    etag_ = modified_ = linked_ = range_ = write_error_ = "";
    const std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(request_headers(), curl_slist_free_all);
    configure(headers.get());
    if (have_ > 0 && progress_)
      progress_({have_, 0, fmt::format("resuming at {:.1f} MB", static_cast<double>(have_) / 1e6)});
    const CURLcode code = curl_easy_perform(curl_);
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status_);
    std::fflush(file_);
    if (cancelled_) throw Interrupted();
    if (!write_error_.empty()) throw Error(write_error_);
    if (stale_ || (status_ == 416 && have_ > 0)) return;
    check(code);
  }

  curl_slist* request_headers() const {
    // A validator of the file's own hash needs no If-Range: the hash is compared when the new one is stated.
    if (have_ == 0 || validator_.starts_with("sha256:")) return nullptr;
    return curl_slist_append(nullptr, ("If-Range: " + validator_).c_str());
  }

  void configure(curl_slist* headers) {
    const bool secure = url_.starts_with("https:");
    curl_easy_setopt(curl_, CURLOPT_URL, url_.c_str());
    curl_easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl_, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    curl_easy_setopt(curl_, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl_, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(curl_, CURLOPT_USERAGENT, "tensorlogic");
    curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT, 20L);
    curl_easy_setopt(curl_, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl_, CURLOPT_LOW_SPEED_TIME, 60L);
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, reason_);
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
    if (!token_.empty()) {  // unlike a header of ours, libcurl keeps this from other hosts
      curl_easy_setopt(curl_, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
      curl_easy_setopt(curl_, CURLOPT_XOAUTH2_BEARER, token_.c_str());
    }
    if (have_ > 0) curl_easy_setopt(curl_, CURLOPT_RANGE, fmt::format("{}-", have_).c_str());
    curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
    curl_easy_setopt(curl_, CURLOPT_HEADERDATA, this);
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &Transfer::on_data);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(curl_, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl_, CURLOPT_XFERINFOFUNCTION, &Transfer::on_progress);
    curl_easy_setopt(curl_, CURLOPT_XFERINFODATA, this);
    reason_[0] = '\0';
  }

  static size_t on_header(char* data, size_t size, size_t count, void* self) {
    static_cast<Transfer*>(self)->header(std::string(data, size * count));
    return size * count;
  }

  /// Headers of every response of a chain of redirections come by; x-linked-etag stands in the first.
  void header(const std::string& line) {
    if (line.starts_with("HTTP/")) {
      etag_ = modified_ = range_ = "";
      begun_ = false;
      return;
    }
    const size_t colon = line.find(':');
    if (colon == std::string::npos) return;
    const std::string name = lower(line.substr(0, colon));
    const size_t begin = std::min(line.find_first_not_of(" \t", colon + 1), line.size());
    std::string value = line.substr(begin, line.find_last_not_of(" \t\r\n") + 1 - begin);
    if (name == "etag") etag_ = value;
    if (name == "last-modified") modified_ = value;
    if (name == "x-linked-etag") linked_ = value;
    if (name == "content-range") range_ = value;
  }

  /// What is stated of the file: its hash, or another mark by which a change can be told. Empty if there is
  /// neither.
  std::string stated_hash() const {
    const std::string linked = sha256_of_etag(linked_);
    return linked.empty() ? sha256_of_etag(etag_) : linked;
  }
  std::string stated_validator() const {
    if (const std::string hash = stated_hash(); !hash.empty()) return "sha256:" + hash;
    return !etag_.empty() && !etag_.starts_with("W/") ? etag_ : modified_;
  }

  static size_t on_data(char* data, size_t size, size_t count, void* self) {
    return static_cast<Transfer*>(self)->data(data, size * count) ? size * count : CURL_WRITEFUNC_ERROR;
  }

  bool data(const char* bytes, size_t n) {
    long status = 0;
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200 && status != 206) return true;  // an error page
    if (!begun_ && !begin_body(status)) return false;
    if (std::fwrite(bytes, 1, n, file_) == n) return true;
    write_error_ = part_ + ": cannot write: " + std::strerror(errno);
    return false;
  }

  bool begin_body(long status) {
    begun_ = true;
    const std::string now = stated_validator();
    const bool other_file = validator_.starts_with("sha256:") && now != validator_;
    if (status == 206 && (other_file || !range_.starts_with(fmt::format("bytes {}-", have_)))) {
      stale_ = true;
      return false;
    }
    if (status == 200 && have_ > 0) restart();  // the server sends all of it, not the rest
    AtomicFile note(note_);
    note.write(now);
    note.commit();
    return true;
  }

  static int on_progress(void* self, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
    auto* t = static_cast<Transfer*>(self);
    if (!t->progress_) return 0;
    const uint64_t have = t->have_;
    const bool go_on = t->progress_(
        {have + static_cast<uint64_t>(done), total > 0 ? have + static_cast<uint64_t>(total) : 0, ""});
    t->cancelled_ = !go_on;
    return go_on ? 0 : 1;
  }

  void check(CURLcode code) const {
    const std::string reason = reason_[0] ? reason_ : curl_easy_strerror(code);
    const uint64_t kept = size_of(part_);
    if (code != CURLE_OK && kept > 0)
      throw Error(fmt::format("{}: the transfer broke off after {} bytes: {}; the same command resumes it",
                              url_, kept, reason));
    if (code != CURLE_OK)
      throw Error(fmt::format(
          "{}: cannot fetch it: {}\nWhere the network is closed, fetch that URL by other means and put "
          "the file at {}",
          url_, reason, target_));
    if (status_ == 401 || status_ == 403)
      throw Error(fmt::format(
          "{}: the server refuses it (HTTP {}): accept the model's terms on its page and set HF_TOKEN to "
          "an access token",
          url_, status_));
    if (status_ == 404) throw Error(url_ + ": there is no such file on the server (HTTP 404)");
    if (status_ != 200 && status_ != 206)
      throw Error(fmt::format("{}: the server answers HTTP {}", url_, status_));
  }

  void finish() {
    if (status_ != 200 && status_ != 206)
      throw Error(fmt::format("{}: the server answers HTTP {}", url_, status_));
    const uint64_t size = size_of(part_);
    const std::string expected = stated_hash();
    if (progress_)
      progress_({size, size,
                 expected.empty() ? "the server states no SHA-256: nothing to verify" : "verifying SHA-256"});
    if (!expected.empty()) {
      const std::string found = sha256_of_file(part_);
      if (found != expected) {
        restart();
        throw Error(fmt::format(
            "{}: the SHA-256 of what arrived is {}, but the server states {}; it was removed, fetch it "
            "again",
            url_, found, expected));
      }
    }
    try {
      check_is_model(part_, target_);
    } catch (const Error&) {
      restart();
      throw;
    }
    if (::fsync(::fileno(file_)) != 0 || std::rename(part_.c_str(), target_.c_str()) != 0)
      throw Error(target_ + ": cannot write: " + std::strerror(errno));
    ::unlink(note_.c_str());
  }

  std::string url_, target_, token_, part_, note_;
  const PullCallback& progress_;
  std::FILE* file_ = nullptr;
  CURL* curl_ = nullptr;
  uint64_t have_ = 0;      // bytes of the part when the transfer began
  std::string validator_;  // of those bytes
  std::string etag_, modified_, linked_, range_;
  bool begun_ = false, stale_ = false, cancelled_ = false;
  std::string write_error_;
  long status_ = 0;
  char reason_[CURL_ERROR_SIZE] = {};
};

}  // namespace

void download(const std::string& url, const std::string& target, const std::string& token,
              const PullCallback& progress) {
  Transfer(url, target, token, progress).run();
}

void check_is_model(const std::string& path, const std::string& name) {
  if (!name.ends_with(".gguf")) return;
  char magic[4] = {};
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  const bool read = file && std::fread(magic, 1, sizeof magic, file.get()) == sizeof magic;
  if (!read || std::memcmp(magic, "GGUF", sizeof magic) != 0)
    throw Error(name +
                ": what arrived is no GGUF file (a login or error page in its place?); it was removed");
}

}  // namespace tl

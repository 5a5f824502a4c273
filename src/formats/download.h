// Fetching one file over HTTP, resuming where an earlier attempt stopped.
#pragma once

#include <string>

#include "formats/registry.h"

namespace tl {

using PullCallback = std::function<bool(const PullProgress&)>;

/// Fetches `url` to `target` by way of `target`.part, which stays when the transfer breaks and is continued
/// by the next attempt (where the server's validator says that the file is still the same). The SHA-256 that
/// the server states (x-linked-etag as Hugging Face sends it, or an ETag of that form) is verified; a
/// mismatch removes what was fetched. `token`, where not empty, is sent as a bearer token, and only to the
/// URL's own host. Throws Error saying what to do.
void download(const std::string& url, const std::string& target, const std::string& token,
              const PullCallback& progress);

/// Throws Error unless the file begins as its name's ending promises (a login page in place of a model, say).
void check_is_model(const std::string& path, const std::string& name);

}  // namespace tl

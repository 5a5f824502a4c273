"""A web server for registry_test.cpp: python3 range_server.py LOG. Prints its port, serves until its input ends.

Content is "GGUF" and 100,000 patterned bytes, at paths that each behave in one way; requests are appended to LOG as
"PATH RANGE IF-RANGE AUTHORIZATION".
"""
import hashlib
import http.server
import sys
import threading

CONTENT = b"GGUF" + bytes(i * 7 % 251 for i in range(100_000))
OTHER = b"GGUF" + bytes(i * 11 % 241 for i in range(100_000))
HASH = hashlib.sha256(CONTENT).hexdigest()
seen = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        sent = self.headers
        with open(sys.argv[1], "a") as log:
            log.write(f"{self.path} {sent.get('Range')} {sent.get('If-Range')} {sent.get('Authorization')}\n")
        count = seen[self.path] = seen.get(self.path, 0) + 1
        if self.path == "/user/repo/resolve/main/sub/hub.gguf":  # as Hugging Face does it
            self.send_response(302)
            self.send_header("X-Linked-ETag", f'"{HASH}"')
            self.send_header("Location", "/cdn/drop")
            self.end_headers()
        elif self.path.startswith("/status/"):
            self.send_response(int(self.path.split("/")[2]))
            self.end_headers()
            self.wfile.write(b"an error page")
        elif self.path == "/page.gguf":
            self.send(b"<html>Please log in</html>", {})
        else:
            self.special(count)

    def special(self, count):
        drop = 40_000 if count == 1 else None
        if self.path == "/cdn/drop":
            self.send(CONTENT, {"ETag": '"cdn-1"'}, drop)
        elif self.path == "/hash/drop.gguf":
            self.send(CONTENT, {"ETag": f'"{HASH}"'}, drop)
        elif self.path == "/etag/drop.gguf":
            self.send(CONTENT, {"ETag": '"v1"'}, drop)
        elif self.path == "/changed/drop.gguf":  # another file, of which the server tells by its ETag
            self.send(CONTENT if count == 1 else OTHER, {"ETag": f'"v{count}"'}, drop)
        elif self.path == "/rehashed/drop.gguf":
            content = CONTENT if count == 1 else OTHER
            self.send(content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}, drop)
        elif self.path == "/unmarked/drop.gguf":
            self.send(CONTENT, {}, drop)
        elif self.path == "/norange/drop.gguf":
            self.send(CONTENT, {"ETag": '"v1"', "X-No-Range": "1"}, drop)
        elif self.path == "/wrong.gguf":
            self.send(CONTENT, {"ETag": f'"{"0" * 64}"'})
        else:
            self.send(CONTENT, {"ETag": f'"{HASH}"'})

    def send(self, content, headers, drop=None):
        begin = 0
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        unchanged = condition is None or condition == headers.get("ETag")
        if wanted and unchanged and "X-No-Range" not in headers:
            begin = int(wanted[len("bytes=") :].rstrip("-"))
            if begin >= len(content):
                self.send_response(416)
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin : begin + drop] if drop else content[begin:])


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()

"""Two ways in which Python servers read a path: the standard library's file server, and an application in ISO 8859-1."""

import functools
import http.server
import posixpath
import sys
import threading
import urllib.parse


class Latin1(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0].split("#")[0]
        path = posixpath.normpath(urllib.parse.unquote(path, encoding="latin-1"))
        body = b"protected" if path.split("/")[1] == "k\u00fcche" else b"open"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


directory, files, latin1 = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
handlers = ((files, functools.partial(Files, directory=directory)), (latin1, Latin1))
for port, handler in handlers:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever).start()

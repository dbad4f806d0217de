"""A collector of audit records. It does what the file `mode` in its directory says:

ok: keeps what it gets.  500, 400: refuses it.  later: 503, and asks for three seconds.  hang: never answers.  lost: keeps it, and the answer is lost.
bulk: keeps what is new and answers for each record; one whose number is in the file `poison` is refused.

With a certificate and its key behind folder and port it speaks TLS.
"""

import http.server
import json
import os
import ssl
import sys
import threading
import time

folder, port = sys.argv[1], int(sys.argv[2])
certificate = sys.argv[3:]
lock = threading.Lock()
seen = set()


def path(name):
    return os.path.join(folder, name)


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"{}", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def keep(self, lines):
        with lock, open(path("kept"), "ab") as kept:
            kept.write(b"".join(line + b"\n" for line in lines))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        mode = open(path("mode")).read().strip()
        with lock, open(path("asked"), "a") as asked:
            asked.write(f"{mode} {self.headers.get('Authorization')} {len(body)} {time.monotonic()}\n")
        if mode.isdigit():
            return self.answer(int(mode))
        if mode == "later":
            return self.answer(503, headers=[("Retry-After", "3")])
        if mode == "hang":
            time.sleep(3600)
        lines = body.splitlines()
        if mode == "bulk":
            return self.bulk(lines)
        self.keep(lines)
        if mode == "lost":
            self.close_connection = True
            return None
        return self.answer(200)

    def bulk(self, lines):
        poison = open(path("poison")).read().strip()
        items, kept = [], []
        for action, record in zip(lines[::2], lines[1::2]):
            key = json.loads(action)["create"]["_id"]
            with lock:
                status = 409 if key in seen else 400 if key.endswith(":" + poison) else 201
                if status == 201:
                    seen.add(key)
                    kept.append(record)
            items.append({"create": {"_id": key, "status": status}})
        self.keep(kept)
        errors = any(item["create"]["status"] != 201 for item in items)
        return self.answer(200, json.dumps({"errors": errors, "items": items}).encode())


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ssl.SSLError):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", port), Collector)
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    # The handshake is left to the thread of each connection: one that fails must not end the server.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()

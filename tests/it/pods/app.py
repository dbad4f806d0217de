"""An application that knows nothing of Wardgate: it listens where it is told, and finishes what runs when it is stopped.

`app.py HOST:PORT NAME` or `app.py unix:PATH NAME`: each answer is NAME, the method, and the length of the body it got.
"""

import http.server
import os
import signal
import socketserver
import sys
import threading
import time

listen, name = sys.argv[1], sys.argv[2]
running = threading.Semaphore(0)
busy = 0
lock = threading.Lock()


class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def address_string(self):
        return "unknown"

    def answer(self):
        global busy
        with lock:
            busy += 1
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # As long as a small page takes.
            time.sleep(0.01)
            text = f"{name} {self.command} {len(body)}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        finally:
            with lock:
                busy -= 1

    do_GET = do_POST = answer


class OnSocket(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False


class OnPort(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def server():
    if listen.startswith("unix:"):
        return OnSocket(listen.removeprefix("unix:"), Application)
    host, port = listen.rsplit(":", 1)
    return OnPort((host, int(port)), Application)


# A legacy application takes its time to come up.
time.sleep(0.5)
serving = server()
signal.signal(signal.SIGTERM, lambda *_: running.release())
threading.Thread(target=serving.serve_forever, daemon=True).start()
running.acquire()
serving.shutdown()
while busy:
    time.sleep(0.01)
os._exit(0)

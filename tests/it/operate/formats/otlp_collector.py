"""A collector of OpenTelemetry logs over HTTP that reads them with the official definitions and nothing else.

It does what the file `mode` in its directory says: ok: keeps what it gets. 503, 400: refuses it. lost: keeps it, and the
answer is lost. partial: takes a request of one record, and rejects the last record of any other.
"""

import http.server
import json
import os
import sys
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

folder, port = sys.argv[1], int(sys.argv[2])
lock = threading.Lock()


def path(name):
    return os.path.join(folder, name)


def text(attributes):
    return {attribute.key: attribute.value.string_value for attribute in attributes}


def read(body):
    """The log records; what the definitions do not know is an error."""
    request = json_format.Parse(body, logs_service_pb2.ExportLogsServiceRequest())
    kept = []
    for resource in request.resource_logs:
        assert text(resource.resource.attributes) == {"service.name": "wardgate"}, resource
        for scope in resource.scope_logs:
            assert scope.scope.name == "wardgate.audit", scope.scope
            for record in scope.log_records:
                attributes = text(record.attributes)
                kept.append(
                    {
                        "key": attributes["wardgate.record.key"],
                        "event": attributes["event.name"],
                        "time": record.time_unix_nano,
                        "observed": record.observed_time_unix_nano,
                        "severity": record.severity_number,
                        "body": record.body.string_value,
                    }
                )
    return kept


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, message=None):
        body = json_format.MessageToJson(message).encode() if message else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        mode = open(path("mode")).read().strip()
        if mode.isdigit():
            return self.answer(int(mode))
        assert (self.path, self.headers["Content-Type"]) == ("/v1/logs", "application/json"), self.path
        records = read(body)
        answer = logs_service_pb2.ExportLogsServiceResponse()
        if mode == "partial" and len(records) > 1:
            records.pop()
            answer.partial_success.rejected_log_records = 1
            answer.partial_success.error_message = "canary-of-a-collector"
        with lock, open(path("kept"), "a") as kept:
            kept.write("".join(json.dumps(record) + "\n" for record in records))
        if mode == "lost":
            self.close_connection = True
            return None
        return self.answer(200, answer)


http.server.ThreadingHTTPServer(("127.0.0.1", port), Collector).serve_forever()

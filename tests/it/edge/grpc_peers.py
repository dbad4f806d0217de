"""A real gRPC service and a real client of it, without generated code: messages are bytes.

  grpc_peers.py serve              serves on a free port of loopback; prints {"port": …}, then one line for each call it sees
  grpc_peers.py call               reads {"target", "ca", "calls": [...]} from standard input, prints what came of each
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "clinic.Results"


def say(**what):
    print(json.dumps(what), flush=True)


def seen(context):
    """What arrived with the call, as far as the test asks."""
    names = ("x-remote-user", "authorization", "x-wardgate-decision", "x-spoofed", "te")
    found = {name: value for name, value in context.invocation_metadata() if name in names}
    remaining = context.time_remaining()
    return {"metadata": found, "remaining": remaining if remaining is not None and remaining < 1e6 else None}


def read(request, context):
    say(call="Read", **seen(context))
    context.set_trailing_metadata((("x-checksum", "c1"), ("x-wardgate-forged", "1")))
    return b"read:" + request


def watch(request, context):
    say(call="Watch", **seen(context))
    for number in range(int(request)):
        yield b"%d" % number
    context.set_trailing_metadata((("x-checksum", "c2"),))


def upload(requests, context):
    total = sum(len(request) for request in requests)
    say(call="Upload", **seen(context))
    return b"%d" % total


def chat(requests, context):
    say(call="Chat", **seen(context))
    for request in requests:
        yield b"echo:" + request


def fail(request, context):
    say(call="Fail", **seen(context))
    context.set_trailing_metadata((("x-checksum", "c3"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "der Befund ist \u00e4lter: 100%")


def fail_late(request, context):
    say(call="FailLate", **seen(context))
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "after two")


def hang(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    say(call="Hang", **seen(context))
    was_told = ended.wait(30)
    say(call="Hang", told=was_told, active=context.is_active())
    return b""


def serve():
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    handlers = {
        "Read": unary(read),
        "Watch": stream(watch),
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": unary(fail),
        "FailLate": stream(fail_late),
        "Hang": unary(hang),
        "Secret": unary(read),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    say(port=server.add_insecure_port("127.0.0.1:0"))
    server.start()
    sys.stdin.read()  # until the test ends
    server.stop(None)


def call(channel, task):
    method = f"/{SERVICE}/{task['method']}"
    messages = [message.encode() for message in task.get("messages", [""])] * task.get("times", 1)
    options = {"metadata": [tuple(pair) for pair in task.get("metadata", [])], "timeout": task.get("timeout", 30)}
    kind = task["kind"]
    answers, took = [], time.monotonic()
    if kind == "unary_unary":
        running = channel.unary_unary(method).future(messages[0], **options)
    elif kind == "stream_unary":
        running = channel.stream_unary(method).future(iter(messages), **options)
    elif kind == "unary_stream":
        running = channel.unary_stream(method)(messages[0], **options)
    else:
        running = channel.stream_stream(method)(iter(messages), **options)
    try:
        if kind.endswith("unary"):
            answers.append(running.result().decode())
        else:
            for answer in running:
                answers.append(answer.decode())
    except grpc.RpcError:
        pass
    took = time.monotonic() - took
    return {
        "status": running.code().name,
        "details": running.details(),
        "answers": answers if len(answers) <= 10 else len(answers),
        "trailers": {name: value for name, value in running.trailing_metadata() or () if isinstance(value, str)},
        "took": took,
    }


def ask():
    task = json.load(sys.stdin)
    options = [("grpc.ssl_target_name_override", "portal.example")]
    credentials = grpc.ssl_channel_credentials(root_certificates=task["ca"].encode())
    with grpc.secure_channel(task["target"], credentials, options=options) as channel:
        print(json.dumps([call(channel, one) for one in task["calls"]]))


if __name__ == "__main__":
    {"serve": serve, "call": ask}[sys.argv[1]]()

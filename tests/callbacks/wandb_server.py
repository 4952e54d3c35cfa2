"""Stand-ins for the server of Weights & Biases, each with a fault of its own."""

import gzip
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "text of the server"
PAGE = f"<html><head><title>Error</title></head>\n<body>{SECRET}\n<p>more</p></body></html>"
BUCKET = {
    "id": "b",
    "displayName": "trial",
    "config": "{}",
    "historyLineCount": 0,
    "project": {"id": "p", "name": "deformlab", "entity": {"id": "e", "name": "me"}},
}
DATA = {
    "model": None,
    "createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []},
}


class Server:
    """A server on 127.0.0.1 with one way to behave.

    Args:
        behaviour: `drips` (its header never ends), `silent` (takes the connection, answers nothing),
            `html 500` (with good answers to HEAD), `refuses the key`, `garbage` (no JSON), `works`, or
            `stops` (works until the run has started, and then answers nothing).
    """

    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.received: list[str] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                if server.behaviour == "silent":
                    server.closing.wait()
                elif server.behaviour == "drips":
                    self.request.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                    while not server.closing.wait(0.1):
                        self.request.sendall(b"x")
                else:
                    super().handle()

            def do_HEAD(self) -> None:
                self.reply(200, "")

            def do_POST(self) -> None:
                body = self.body()
                server.received.append(body)
                if server.behaviour == "stops" and "/file_stream" in self.path:
                    server.closing.wait()
                elif server.behaviour in ("works", "stops"):
                    name = json.loads(body).get("variables", {}).get("name")
                    upserted = {"bucket": BUCKET | {"name": name}, "inserted": True}
                    self.reply(200, json.dumps({"data": DATA | {"upsertBucket": upserted}}))
                else:
                    status = {"html 500": 500, "refuses the key": 401, "garbage": 200}[server.behaviour]
                    self.reply(status, PAGE)

            def body(self) -> str:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                return (
                    gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                ).decode()

            def reply(self, status: int, body: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args: object) -> None:
                """Prints nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: socket.socket, client_address: object) -> None:
                """A client that has gone is no error."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Ends the connections that wait."""
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()

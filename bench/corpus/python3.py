"""A web service of JSON documents, and its clients: 'serve PORTFILE' and 'load PORTFILE SECONDS'.

The service keeps the 5,000 documents that were used last. Clients wait a little between requests,
so that minutes are minutes of service and not of the largest load; each answer is checked.
"""
import collections
import http.client
import http.server
import json
import os
import random
import sys
import threading
import time

KEPT, KEYS, CLIENTS, A_CONNECTION = 5000, 12000, 4, 200
documents, lock = collections.OrderedDict(), threading.Lock()


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, found):
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            documents[self.path] = document
            documents.move_to_end(self.path)
            while len(documents) > KEPT:
                documents.popitem(last=False)
        self.answer(len(document["words"]))

    def do_GET(self):
        with lock:
            if self.path.startswith("/search/"):
                word = self.path.rpartition("/")[2].replace("%20", " ")
                recent = list(documents.items())[-300:]
                found = sorted(path for path, document in recent if word in document["words"])
            else:
                found = documents.get(self.path)
        self.answer(found)


def serve(port_file):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    with open(port_file + ".new", "w", encoding="ascii") as file:
        file.write(str(server.server_port))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


def document(draw, key):
    return {"key": key, "words": [f"word {draw.randrange(400)}" for _ in range(int(draw.paretovariate(1.1) * 8) % 2000)],
            "scores": {f"s{n}": draw.random() for n in range(draw.randrange(20))}}


def ask(link, method, path, body=None):
    link.request(method, path, body=body and json.dumps(body))
    return json.loads(link.getresponse().read())


def client(port, seed, end, failures):
    draw, link = random.Random(seed), None
    try:
        for turn in range(10**9):
            if time.monotonic() > end:
                return
            if turn % A_CONNECTION == 0:
                link = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
            key = draw.randrange(KEYS)
            kind = draw.random()
            if kind < 0.4:
                given = document(draw, key)
                assert ask(link, "PUT", f"/{key}", given) == len(given["words"])
            elif kind < 0.97:
                found = ask(link, "GET", f"/{key}")
                assert found is None or found["key"] == key
            else:
                assert isinstance(ask(link, "GET", f"/search/word%20{draw.randrange(400)}"), list)
            time.sleep(draw.random() * 0.01)
    except Exception as error:  # a thread's end says nothing to its parent
        failures.append(repr(error))


def load(port_file, seconds):
    for _ in range(3000):
        if os.path.exists(port_file):
            break
        time.sleep(0.02)
    with open(port_file, encoding="ascii") as file:
        port = int(file.read())
    failures, end = [], time.monotonic() + seconds
    clients = [threading.Thread(target=client, args=(port, seed, end, failures)) for seed in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    sys.exit("; ".join(failures) or 0)


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1] == "serve" else load(sys.argv[2], float(sys.argv[3]))

"""The load of memcached.sh: batches of sets and gets in memcached's text protocol, every answer checked."""
import socket
import sys
import time

KEYS, BATCH, ROUNDS = 30000, 100, 3


def connect(path):
    for _ in range(500):
        try:
            link = socket.socket(socket.AF_UNIX)
            link.connect(path)
            return link
        except OSError:
            link.close()
            time.sleep(0.01)
    sys.exit("memcached does not answer")


def value(key, turn):
    return (b"%d " % (key + turn)) * (8 + key % 400)


link = connect(sys.argv[1])
answers = link.makefile("rb")
for turn in range(ROUNDS):
    for first in range(0, KEYS, BATCH):
        keys = range(first, first + BATCH)
        values = [value(key, turn) for key in keys]
        link.sendall(b"".join(b"set k%d 0 0 %d\r\n%s\r\n" % (key, len(text), text) for key, text in zip(keys, values)))
        assert all(answers.readline() == b"STORED\r\n" for _ in keys)
        link.sendall(b"get " + b" ".join(b"k%d" % key for key in keys) + b"\r\n")
        for text in values:
            answers.readline()
            assert answers.read(len(text) + 2) == text + b"\r\n"
        assert answers.readline() == b"END\r\n"

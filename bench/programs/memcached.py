"""The load of memcached.sh: batches of commands in memcached's text protocol, every answer checked.

Usage: memcached.py SOCKET PART; PART 100 is a hundredth of the work. Prints a line a command, as redis-benchmark does:
keys a second, and how long a batch took.
"""
import socket
import sys
import time

BATCH, ROUNDS = 100, 4
KEYS = 30000 // int(sys.argv[2]) // BATCH * BATCH


def connect(path):
    for _ in range(500):
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(path)
            return link
        except OSError:
            link.close()
            time.sleep(0.01)
    sys.exit("memcached does not answer")


def value(key, turn):
    return (b"%d " % (key + turn)) * (8 + key % 400)


def store(link, answers, keys, turn):
    values = [value(key, turn) for key in keys]
    link.sendall(b"".join(b"set k%d 0 0 %d\r\n%s\r\n" % (key, len(text), text) for key, text in zip(keys, values)))
    return all([answers.readline() == b"STORED\r\n" for _ in keys])


def fetch(link, answers, keys, turn):
    link.sendall(b"get " + b" ".join(b"k%d" % key for key in keys) + b"\r\n")
    good = True
    for key in keys:
        text = value(key, turn)
        good &= answers.readline() == b"VALUE k%d 0 %d\r\n" % (key, len(text))
        good &= answers.read(len(text) + 2) == text + b"\r\n"
    return good and answers.readline() == b"END\r\n"


def delete(link, answers, keys, _):
    """Every other one; in the last round."""
    link.sendall(b"".join(b"delete k%d\r\n" % key for key in keys[::2]))
    return all([answers.readline() == b"DELETED\r\n" for _ in keys[::2]])


def main():
    link = connect(sys.argv[1])
    answers, took = link.makefile("rb"), {}
    for turn in range(ROUNDS):
        for name, act in (("set", store), ("get", fetch), *[("delete", delete)] * (turn == ROUNDS - 1)):
            for first in range(0, KEYS, BATCH):
                began = time.perf_counter()
                good = act(link, answers, range(first, first + BATCH), turn)
                took.setdefault(name, []).append(time.perf_counter() - began)
                if not good:
                    sys.exit(f"memcached: wrong answer to {name} of k{first} to k{first + BATCH - 1}")
    for name, seconds in took.items():
        keys = len(seconds) * BATCH // (2 if name == "delete" else 1)
        ordered = sorted(seconds)
        points = ", ".join(f"p{share}={ordered[int(len(ordered) * share / 100)] * 1e3:.3f} msec" for share in (50, 99, 99.9))
        print(f"{name}: {keys / sum(seconds):.2f} requests per second, {points}")


main()

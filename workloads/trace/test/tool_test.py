#!/usr/bin/python3
"""Tests of mymalloc-trace: files that are no recording, and what its command line refuses.

Run as trace_test.py is.
"""
import glob
import os
import stat
import struct
import subprocess
import zlib

from support import COUNT, ENDING, KNOWN, TOOL, TraceCase, main, run


class BadFiles(TraceCase):
    """Whatever is wrong with a file: one line, a status, and no crash."""

    def setUp(self):
        super().setUp()
        self.assertEqual(self.record(ENDING, "last").returncode, 6)
        with open(self.trace, "rb") as f:
            self.good = f.read()

    def refuse(self, content, *words):
        with open(self.trace, "wb") as f:
            f.write(content)
        for command in "replay", "summary":
            done = run(TOOL, command, self.trace)
            self.assert_one_line(done, 1, "t.mtrace", *words)

    def test_empty(self):
        self.refuse(b"", "empty")

    def test_foreign(self):
        self.refuse(b"#!/bin/sh\necho not a trace\n", "not a trace")
        self.refuse(b"x", "not a trace")
        self.refuse(bytes(100000), "not a trace")

    def test_version(self):
        self.refuse(self.good[:8] + struct.pack("<I", 77) + self.good[12:], "version 77",
                    "reads version 1")

    def test_truncated(self):
        for length in (12, 100, 511, 512, 513, 520, 530, 1000, len(self.good) // 2,
                       len(self.good) - 1):
            with self.subTest(length=length):
                self.refuse(self.good[:length], "truncated")

    def test_flipped_bits(self):
        for at in range(12, len(self.good), max(1, len(self.good) // 97)):
            with self.subTest(at=at):
                bad = bytearray(self.good)
                bad[at] ^= 0x10
                self.refuse(bytes(bad), "")

    def test_too_long(self):
        self.refuse(self.good + b"more", "damaged")

    def test_lying_header(self):
        """Checksums in order, but the contents are not."""
        for where, value in ((12, 1 << 31), (32, 99999), (40, 1)):
            with self.subTest(where=where):
                bad = bytearray(self.good)
                bad[where:where + 4] = struct.pack("<I", value)
                bad[76:80] = bytes(4)
                bad[76:80] = struct.pack("<I", zlib.crc32(bytes(bad[:512])))
                self.refuse(bytes(bad), "")

    def test_command_that_a_terminal_would_obey(self):
        odd = bytearray(self.good)
        odd[80:90] = b"a\x1b[31m\n\x7f\x07b"
        odd[76:80] = bytes(4)
        odd[76:80] = struct.pack("<I", zlib.crc32(bytes(odd[:512])))
        path = os.path.join(self.directory, "odd")
        with open(path, "wb") as f:
            f.write(odd)
        for command in "summary", "replay":
            done = run(TOOL, command, path)
            self.assertEqual((done.returncode, "\x1b" in done.stdout, "a?[31m???b" in done.stdout), (0, False, True), command)

    def test_missing_and_directory(self):
        done = run(TOOL, "summary", os.path.join(self.directory, "no"))
        self.assert_one_line(done, 1, "No such file")
        done = run(TOOL, "replay", self.directory)
        self.assert_one_line(done, 1, "not a regular file")

    def test_full_disk(self):
        """A recording that outgrows its disk stops; the program goes on."""
        limited = os.path.join(self.directory, "small")
        os.mkdir(limited)
        if run("mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", limited).returncode:
            self.skipTest("cannot mount a small tmpfs")
        self.addCleanup(run, "umount", limited)
        small = os.path.join(limited, "t.mtrace")
        done = run(TOOL, "record", "-o", small, "--", KNOWN)
        self.assertEqual(done.returncode, 3)
        self.assertEqual(done.stdout, run(KNOWN).stdout)
        self.assertIn("No space left", done.stderr)
        self.assertEqual(run(TOOL, "summary", small).returncode, 0)
        self.replay("--touch", path=small)


class CommandLine(TraceCase):
    def test_help(self):
        for command in ([], ["record"], ["replay"], ["summary"]):
            done = run(TOOL, *command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("Usage: mymalloc-trace", done.stdout)
            self.assertEqual(done.stderr, "")
            self.assertLessEqual(max(map(len, done.stdout.splitlines())), 90)

    def test_usage_errors(self):
        self.assert_one_line(run(TOOL, "rewind"), 2, "'rewind'", "record, replay, summary")
        self.assert_one_line(run(TOOL, "replay"), 2, "FILE")
        self.assert_one_line(run(TOOL, "replay", "a", "b"), 2, "'b'")
        self.assert_one_line(run(TOOL, "record", "true"), 2, "-o FILE")
        self.assert_one_line(run(TOOL, "record", "-o", self.trace), 2, "PROGRAM")
        for value in "0", "1001", "x", "", "3x", "99999999999999999999":
            self.assert_one_line(run(TOOL, "replay", "--repeat", value, "a"), 2,
                                 f"'{value}'", "1 to 1000")
        for value in "-1", "61", "x", "", "nan":
            self.assert_one_line(run(TOOL, "replay", "--settle", value, "a"), 2, f"'{value}'", "from 0 to 60")
        self.assertEqual(run(TOOL, "replay", "--fast", "a").returncode, 2)

    def test_program_trouble(self):
        self.assert_one_line(self.record("/no/such/program"), 127, "/no/such/program")
        self.assertFalse(os.path.exists(self.trace))
        self.assert_one_line(self.record(self.directory), 126, "Permission denied")
        done = run(TOOL, "record", "-o", "/no/such/directory/t", "--", "true")
        self.assert_one_line(done, 125, "/no/such/directory/t", "No such file")

    def test_a_file_that_is_no_trace_is_kept(self):
        precious = os.path.join(self.directory, "main.c")
        with open(precious, "w") as f:
            f.write("int main(void) { return 0; }\n")
        done = run(TOOL, "record", "-o", precious, "--", "true")
        self.assert_one_line(done, 125, "not a trace")
        with open(precious) as f:
            self.assertIn("main", f.read())

    def test_what_is_no_file_stays(self):
        """Sealing renames: a device's or a pipe's name would become a file's."""
        for kind in ("null", "pipe"):
            path = os.path.join(self.directory, kind)
            if kind == "pipe":
                os.mkfifo(path)
            elif os.geteuid() == 0:
                os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
            else:
                continue
            before = os.lstat(path)
            done = run(TOOL, "record", "-o", path, "--", "true")
            self.assertEqual(done.returncode, 125, done.stderr)
            self.assertEqual(done.stderr, f"mymalloc-trace: {path} is no regular file; name a new file or a trace\n")
            self.assertEqual(os.lstat(path).st_mode, before.st_mode)
            self.assertEqual(run(TOOL, "summary", path).stderr, f"mymalloc-trace: {path}: not a regular file\n")

    def test_links(self):
        """One that the user names is followed, to a file that is there or not; one in the way is not."""
        os.mkdir(os.path.join(self.directory, "d"))
        link, target = os.path.join(self.directory, "d", "link"), self.trace
        os.symlink("../t.mtrace", link)
        for _ in range(2):
            done = run(TOOL, "record", "-c", "-q", "-o", link, "--", "sh", "-c", f"{ENDING} last; exit 11")
            self.assertEqual((done.returncode, done.stderr), (11, ""))
            self.assertEqual(os.listdir(os.path.dirname(link)), ["link"])
            self.assertEqual(os.readlink(link), "../t.mtrace")
            child, = glob.glob(target + ".*")
            for path in target, child:  # sealed
                self.assertEqual(run(TOOL, "summary", path).stderr, "")
            self.assertEqual(self.marked(child), {0: COUNT})
            os.unlink(child)
        precious = os.path.join(self.directory, "precious")
        with open(precious, "w", encoding="utf-8") as f:
            f.write("kept")
        os.symlink(precious, target + ".sealing")
        self.assertEqual(self.record(ENDING, "last").returncode, 6)
        self.assertEqual(self.marked(), {0: COUNT})
        with open(precious, encoding="utf-8") as f:
            self.assertEqual(f.read(), "kept")

    def test_output_that_takes_nothing(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([TOOL, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "mymalloc-trace: cannot write to standard output: No space left on device\n"))

    def test_static_program(self):
        source = os.path.join(self.directory, "s.c")
        with open(source, "w") as f:
            f.write("int main(void) { return 9; }\n")
        if run("cc", "-static", source, "-o", self.directory + "/s").returncode != 0:
            self.skipTest("no static libc")
        self.assert_one_line(self.record(self.directory + "/s"), 125, "statically linked",
                             "status 9")


if __name__ == "__main__":
    main()

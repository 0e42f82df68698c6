"""Fetch the pages of nginx.sh, plain and packed, and compare them with their files: nginx.py PORT FOLDER.

Prints the sizes that an answer must have: of the small page, of the large one packed.
"""
import gzip
import os
import sys
import urllib.request

sizes = {}
for name, coding in (("small", "identity"), ("large", "identity"), ("large", "gzip")):
    request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/{name}", headers={"Accept-Encoding": coding})
    with urllib.request.urlopen(request, timeout=30) as answer:
        got, packed = answer.read(), answer.headers.get("Content-Encoding") == "gzip"
    with open(os.path.join(sys.argv[2], name), "rb") as file:
        wanted = file.read()
    if (gzip.decompress(got) if packed else got) != wanted or packed != (coding == "gzip"):
        sys.exit(f"nginx: {name}, {coding}: the answer is not the page")
    sizes[name] = len(got)
print(sizes["small"], sizes["large"])

"""Compress one file and tell its checksum: the command that ``demo.py`` runs for each file. ``FILE FOLDER``."""

import gzip
import hashlib
import os
import sys

source, folder = sys.argv[1:]
with open(source, "rb") as opened:
    data = opened.read()
checksum = hashlib.sha256(data).hexdigest()
compressed = gzip.compress(data, mtime=0)
# Written aside and renamed, since the command may be killed at any moment and then runs once more.
target = os.path.join(folder, hashlib.sha256(os.fsencode(source)).hexdigest() + ".gz")
aside = f"{target}.{os.getpid()}"
with open(aside, "wb") as opened:
    opened.write(compressed)
os.replace(aside, target)
print(checksum, len(data), len(compressed))

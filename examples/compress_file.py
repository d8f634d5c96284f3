"""Compress one file and print its checksum. ``demo.py`` runs this program for each file.

Usage: ``python compress_file.py FILE FOLDER``
"""

import gzip
import hashlib
import os
import sys

source, folder = sys.argv[1:]
with open(source, "rb") as opened:
    data = opened.read()
checksum = hashlib.sha256(data).hexdigest()
compressed = gzip.compress(data, mtime=0)
# The result is written to a temporary file, and the file is then renamed. The program may be killed at any moment and
# run again, so a partly written result must not get the final name.
target = os.path.join(folder, hashlib.sha256(os.fsencode(source)).hexdigest() + ".gz")
draft = f"{target}.{os.getpid()}"
with open(draft, "wb") as opened:
    opened.write(compressed)
os.replace(draft, target)
print(checksum, len(data), len(compressed))

"""Compress one file and print its checksum: the command that ``demo.py`` runs for each file.

``python compress_file.py FILE FOLDER``
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
# Written to a temporary file and renamed, because the command may be killed at any moment, and is then run again.
target = os.path.join(folder, hashlib.sha256(os.fsencode(source)).hexdigest() + ".gz")
draft = f"{target}.{os.getpid()}"
with open(draft, "wb") as opened:
    opened.write(compressed)
os.replace(draft, target)
print(checksum, len(data), len(compressed))

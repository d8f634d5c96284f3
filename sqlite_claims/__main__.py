"""``python -m sqlite_claims`` is the command ``sqlite-claims``."""

from .cli import main

if __name__ == "__main__":
    main()

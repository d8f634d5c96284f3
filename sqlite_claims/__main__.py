"""The program that ``python -m sqlite_claims`` runs: the command ``sqlite-claims``."""

from .cli import main

if __name__ == "__main__":
    main()

"""`python -m anygpt` is the command line."""

from __future__ import annotations

from anygpt.cli import main

if __name__ == "__main__":
    main()

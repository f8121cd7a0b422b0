"""`python -m anygpt` is the command line."""

from anygpt.cli import main

if __name__ == "__main__":
    main()

"""`python -m digitsweep`: the same as the `digitsweep` command."""

from digitsweep.cli import main

if __name__ == "__main__":
    main()

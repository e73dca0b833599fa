"""``python -m mmseg_domino``: the command ``domino``, also under torchrun."""

from .cli import main

if __name__ == "__main__":
    main()

"""``domino test`` as a script, with the arguments of MMSegmentation's own tools/test.py."""

from mmseg_domino.cli.training import test

if __name__ == "__main__":
    test()

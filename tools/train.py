"""``domino train`` as a script, with the arguments of MMSegmentation's own tools/train.py."""

from mmseg_domino.cli.training import train

if __name__ == "__main__":
    train()

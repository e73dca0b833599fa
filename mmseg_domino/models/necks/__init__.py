from .domino_norm import DominoNorm

__all__ = ["DominoNorm"]

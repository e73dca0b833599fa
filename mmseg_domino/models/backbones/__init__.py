from .vpd import DominoVPD

__all__ = ["DominoVPD"]

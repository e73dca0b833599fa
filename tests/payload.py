"""An object whose pickle, when it is read carelessly, writes a file."""

from pathlib import Path


class Payload:
    """Pickled, it is a call that creates ``sign``."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self):
        return exec, (f"open({str(self.sign)!r}, 'w').close()",)

"""The error of every key-file format: where in which file, what is wrong there, and what would be right."""

from pathlib import Path

from qfp.sa import SaError


class KeyFileError(ValueError):
    """A key file that cannot be read or written. `line` and `column` count from 1; 0 = the file as a whole.

    Neither the message nor the attributes ever hold text from the file that could be a key.
    """

    def __init__(self, path: Path, line: int, column: int, problem: str, remedy: str) -> None:
        place = ":".join(str(part) for part in (path, line, column) if part != 0)
        super().__init__(f"{place}: {problem} ({remedy})")
        self.path = path
        self.line = line
        self.column = column
        self.problem = problem
        self.remedy = remedy

    @classmethod
    def of(cls, path: Path, line: int, column: int, error: SaError) -> "KeyFileError":
        """An SA that was refused, at the place that describes it."""
        return cls(path, line, column, f"{error.field}: {error.problem}", error.remedy)

"""What a lab may be refused for."""


class LabError(ValueError):
    """A lab that cannot be run: names the file, the key in it, and what would do."""

    def __init__(self, file: str, key: str, message: str, remedy: str):
        super().__init__(f"{file}: {key}: {message}: {remedy}")
        self.file, self.key = file, key


class PictureError(ValueError):
    """A drawing that cannot be made."""

"""Objects that hold addresses of memory, and keys: they cannot be copied, and refuse it with the remedy."""

from typing import Any, ClassVar, NoReturn


class Unpicklable:
    """Base of what neither pickle nor copy may copy: a copy would point at memory that is not its own, and a pickle
    would carry keys in clear. `remedy`: what to do instead."""

    remedy: ClassVar[str] = "make it again where it is needed"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Raises TypeError."""
        name = type(self).__name__
        raise TypeError(f"{name} cannot be pickled or copied: it holds keys and addresses of memory ({self.remedy})")

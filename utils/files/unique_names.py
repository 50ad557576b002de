"""Makes names unique, so that results do not overwrite each other."""


class UniqueNames:
    """Gives each name once.

    Example:
        >>> unique = UniqueNames()
        >>> unique("a"), unique("b"), unique("a")
        ("a", "b", "a_2")
    """

    def __init__(self) -> None:
        """Starts with all names free."""
        self._taken: set[str] = set()

    def __call__(self, name: str) -> str:
        """Returns the name, or the first of name_2, name_3, ... that is free, and takes it."""
        unique, again = name, 1
        while unique in self._taken:
            again += 1
            unique = f"{name}_{again}"
        self._taken.add(unique)
        return unique

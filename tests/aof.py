"""Append-only files as a Redis writes them."""

SELECT = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"


def command(*words: str) -> bytes:
    """One command."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)


def sets(first: int, last: int) -> bytes:
    """A write of each number from `first` to before `last`, each to a key of its own."""
    return b"".join(
        command("SET", f"key:{number}", f"a value that belongs to {number}") for number in range(first, last)
    )

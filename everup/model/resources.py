"""What one node may use of its host at most, as declared."""

from dataclasses import dataclass

MEBIBYTE, GIBIBYTE = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Resources:
    """The most that one node may use: `memory_bytes`, beyond which the kernel kills it, and `cpus`, how many processors
    it may keep busy, beyond which it is slowed down. None: as much as there is."""

    memory_bytes: int | None = None
    cpus: float | None = None

    def __str__(self) -> str:
        words = [f"{size_text(self.memory_bytes)} of memory"] if self.memory_bytes else []
        words += [f"{self.cpus:g} {'processor' if self.cpus == 1 else 'processors'}"] if self.cpus else []
        return " and ".join(words)


def killed_for_memory(limit_bytes: int, *, wholly: bool = True) -> str:
    """The kernel killed a node, or, where not `wholly`, a process of it, at this limit; 0: its host had no more."""
    limit = f"it was at its limit of {size_text(limit_bytes)}" if limit_bytes else "its host had none left"
    return f"was killed for memory: {limit}" if wholly else f"the kernel killed a process of it for memory: {limit}"


def size_text(count: int) -> str:
    """A number of bytes as people write a size: `512 MiB`, `1.5 GiB`."""
    if count >= GIBIBYTE and count % (GIBIBYTE // 4) == 0:
        return f"{count / GIBIBYTE:g} GiB"
    return f"{round(count / MEBIBYTE, 1):g} MiB"

"""Running one of `everup.programs` to its end: what takes long is done beside the control plane, not in it."""

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

LAST_WORDS = 300


class ProgramFailed(Exception):
    """Why a program told nothing."""


async def told_by(program: str, words: tuple[str, ...] = (), *, within_s: float, given: str = "") -> dict[str, Any]:
    """Run `everup.programs.PROGRAM WORDS`, with `given` on its standard input; the JSON object that it prints.

    Raises:
        ProgramFailed: it failed, or took longer than `within_s` and was killed.
        OSError: it could not be started.
    """
    command = [sys.executable, "-P", "-m", f"everup.programs.{program}", *words]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate(given.encode())
    except TimeoutError:
        raise ProgramFailed(f"took longer than {within_s:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise ProgramFailed(f"failed: {err.decode(errors='replace').strip()[-LAST_WORDS:]}")
    try:
        told: dict[str, Any] = json.loads(out)
    except ValueError:
        raise ProgramFailed("failed: what it said makes no sense") from None
    return told

"""`replace_after`: when members of a group that wait for a lost host are rebuilt on another one."""

from pydantic import ValidationInfo

REPLACE_AFTER = (
    "With HA on several hosts: how long members wait for a lost host before they are rebuilt on another one,"
    " e.g. 10m. Default: never."
)


def only_in_a_group(value: float | None, found: ValidationInfo) -> float | None:
    """Refuse it for a single server: nobody else has what that has. A pydantic validator of what follows `ha`.

    Raises:
        ValueError: there is no group.
    """
    if value is not None and not found.data.get("ha", True):  # a wrong `ha` has its own flaw
        raise ValueError("only a group can be rebuilt (ha, replace_after): what a single server has would be lost")
    return value

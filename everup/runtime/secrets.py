"""The secrets of environments as their users meet them: what is set, who uses it, and what is still missing."""

from collections.abc import Mapping
from dataclasses import replace

from everup.core.bindings import users_of_secrets
from everup.model.errors import NotFound, Refused
from everup.model.secret import Secret
from everup.runtime.environments import Environments
from everup.runtime.vault import Vault


class Secrets:
    """Sets, lists and removes secrets; an environment need not have been applied yet."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    async def put(self, environment: str, name: str, value: str, by: str) -> Secret:
        """Set a secret; whoever uses it reads it when it starts the next time."""
        await self._vault.put(environment, name, value, by)
        return next(one for one in self.kept(environment) if one.name == name)

    async def remove(self, environment: str, name: str) -> None:
        """Forget a secret.

        Raises:
            NotFound: it is not set.
            Refused: somebody uses it.
        """
        found = next((one for one in self.kept(environment) if one.name == name), None)
        if found is None:
            raise NotFound(
                f"{environment} has no secret {name}", "everup secret list", code="secret.missing", name=name
            )
        if found.used_by:
            raise Refused(
                f"{', '.join(found.used_by)} uses the secret {name}",
                "Take it out of the spec file first, and apply that: everup up",
                code="refused.secret_in_use",
                name=name,
            )
        await self._vault.remove(environment, name)

    def kept(self, environment: str) -> list[Secret]:
        """What is set in an environment, with who uses it as declared now."""
        users: Mapping[str, tuple[str, ...]] = {}
        if environment in self._environments.names():
            users = users_of_secrets(self._environments.get(environment).environment.services)
        return [replace(one, used_by=users.get(one.name, ())) for one in self._vault.kept(environment)]

    @property
    def _vault(self) -> Vault:
        return self._environments.store.vault

"""Several sources of credentials, asked in order."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from .._lock import ForkSafeLock
from ..credentials import CredentialsProvider
from ..errors import CredentialsError, NoCredentialsError
from ..sigv4 import Credentials
from .container import ContainerCredentials
from .document import read_now
from .instance import InstanceCredentials
from .iot import IotCredentials
from .local import EnvironmentCredentials
from .refreshing import RefreshingProvider, told_again
from .shared_files import SharedFilesCredentials

__all__ = ["ProviderChain"]

_log = logging.getLogger("iotwire.credentials")


class ProviderChain:
    """The first of several providers that has credentials. It is remembered, and asked alone from then on.

    providers: which, in order; None for those of AWS's SDKs, in their order: the environment, the shared files, the
        container endpoint, the metadata service of EC2.
    profile: of the shared files. As in the SDKs the environment's keys are not looked at where one is given here.
    iot: the credentials provider of AWS IoT, which is asked before the container endpoint.

    The next provider is asked where one raises NoCredentialsError: it is not set up here. Any other error is raised,
    because what is set up and does not work must not be hidden by what comes later. Where the remembered provider is
    not set up any more, all are asked anew.
    """

    def __init__(
        self,
        providers: Iterable[CredentialsProvider] | None = None,
        *,
        profile: str | None = None,
        iot: IotCredentials | None = None,
    ) -> None:
        if providers is None:
            ordered: list[CredentialsProvider | None] = [
                EnvironmentCredentials() if profile is None else None,
                SharedFilesCredentials(profile),
                iot,
                ContainerCredentials(),
                InstanceCredentials(),
            ]
            self._providers = tuple(each for each in ordered if each is not None)
        else:
            if profile is not None or iot is not None:
                raise CredentialsError("profile, iot: they are for the usual providers; put them among yours")
            self._providers = tuple(providers)
        if not self._providers or not all(callable(getattr(each, "get", None)) for each in self._providers):
            raise CredentialsError("providers: objects with a method get(now) are expected, one at least")
        self._answered: CredentialsProvider | None = None
        self._asking = ForkSafeLock()
        self._failure: CredentialsError | None = None  # of the latest search; another object for each

    def __repr__(self) -> str:
        return f"ProviderChain([{', '.join(map(repr, self._providers))}])"

    @property
    def answered(self) -> CredentialsProvider | None:
        """The provider that is remembered, or None."""
        return self._answered

    def get(self, now: datetime) -> Credentials:
        """Credentials of the first provider that has some. now: an aware time.

        Raises the error of a provider that fails, and NoCredentialsError, which says why, where none is set up.
        """
        read_now(now)
        answered, failure = self._answered, self._failure
        if answered is not None:
            try:
                return answered.get(now)
            except NoCredentialsError:
                _log.info("%r has no credentials any more", answered)
        with self._asking.of_process():
            if self._answered is not answered and self._answered is not None:  # another thread has searched meanwhile
                return self._answered.get(now)
            if self._failure is not failure and self._failure is not None:
                raise told_again(self._failure)
            self._answered = None
            try:
                return self._search(now)
            except CredentialsError as error:
                self._failure = told_again(error)
                raise

    async def get_async(self, now: datetime) -> Credentials:
        """The same for asyncio: in a thread, unless the provider that is remembered need ask nobody."""
        answered = self._answered
        if isinstance(answered, (RefreshingProvider, ProviderChain)):
            try:
                return await answered.get_async(now)
            except NoCredentialsError:
                pass  # all are asked anew
        import asyncio

        return await asyncio.to_thread(self.get, now)

    def _search(self, now: datetime) -> Credentials:
        reasons = []
        for provider in self._providers:
            try:
                found = provider.get(now)
            except NoCredentialsError as error:
                reasons.append(str(error))
                continue
            _log.info("credentials come from %r", provider)
            self._answered = provider
            return found
        raise NoCredentialsError(f"there are no credentials: {'; '.join(reasons)}")

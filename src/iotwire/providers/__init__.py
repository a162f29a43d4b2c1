"""Where credentials for Signature Version 4 come from: `iotwire.credentials` has the public names of this package.

Each has `get(now)`, as `CredentialsProvider` says. Those that ask over the network keep what they were given and renew
it (`refreshing`); those that read files or the environment look again each time, so that what is changed there is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import lazy_names

if TYPE_CHECKING:
    from .boto import BotocoreCredentials
    from .chain import ProviderChain
    from .container import ContainerCredentials
    from .instance import InstanceCredentials
    from .iot import IotCredentials
    from .local import EnvironmentCredentials, StaticCredentials
    from .refreshing import Refreshing
    from .shared_files import SharedFilesCredentials

__all__ = [
    "BotocoreCredentials",
    "ContainerCredentials",
    "EnvironmentCredentials",
    "InstanceCredentials",
    "IotCredentials",
    "ProviderChain",
    "Refreshing",
    "SharedFilesCredentials",
    "StaticCredentials",
]

__getattr__ = lazy_names(
    __name__,
    {
        "boto": ("BotocoreCredentials",),
        "chain": ("ProviderChain",),
        "container": ("ContainerCredentials",),
        "instance": ("InstanceCredentials",),
        "iot": ("IotCredentials",),
        "local": ("EnvironmentCredentials", "StaticCredentials"),
        "refreshing": ("Refreshing",),
        "shared_files": ("SharedFilesCredentials",),
    },
)

"""Settings that have two places, an option and an environment variable: the option wins."""

from __future__ import annotations

import os

__all__ = ["ENVIRONMENT", "described", "setting"]

# The variables, and what they say; the emulator writes those of its own endpoint into `emulator.env`.
ENVIRONMENT = {
    "IOTWIRE_ENDPOINT": "the endpoint of AWS IoT Core",
    "IOTWIRE_ADDRESS": "what to connect to in its place",
    "IOTWIRE_PORT_8883": "the local port for the service's own 8883; so for 443 and 8443",
    "IOTWIRE_CERT": "the file of the device's certificate",
    "IOTWIRE_KEY": "the file of its private key",
    "IOTWIRE_KEY_PASSWORD": "what the key is encrypted with",
    "IOTWIRE_CA": "the file of the server's authority",
    "IOTWIRE_CLIENT_ID": "the MQTT client identifier",
    "IOTWIRE_USERNAME": "the MQTT user name, of IOTWIRE_ENDPOINT alone where that is set",
    "IOTWIRE_PASSWORD": "the MQTT password, likewise",
    "IOTWIRE_AUTHORIZER": "the name of the custom authorizer",
    "IOTWIRE_TOKEN_KEY_NAME": "what the authorizer calls its token",
    "IOTWIRE_TOKEN": "the token",
    "IOTWIRE_TOKEN_SIGNATURE": "its signature",
    "IOTWIRE_SIGNING_KEY": "the file of the key to sign the token with",
    "IOTWIRE_SIGNING_KEY_PASSWORD": "what that key is encrypted with",
    "IOTWIRE_PROXY": "the URL of a proxy, with user name and password where it wants them",
    "IOTWIRE_BROKER_PASSWORD": "the password for the broker that the emulator relays to",
    "AWS_REGION": "the region, where the endpoint's name does not tell it",
}


def setting(option: str | None, variable: str) -> str | None:
    """What an option says, or else an environment variable; None where neither is given. An empty one is not given."""
    return option or os.environ.get(variable) or None


def described(*variables: str) -> str:
    """Variables for the end of a help: one to a line."""
    width = max(map(len, variables))
    return "\n".join(f"  {variable:<{width}}  {ENVIRONMENT[variable]}" for variable in variables)

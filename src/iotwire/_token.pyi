"""The query of a custom authorizer, percent-encoded: the compiled part of `iotwire.custom_auth`.

Nothing is left raw in it but `A-Za-z0-9-._~`, the `=` and `&` that hold it together, and what stands before it.
"""

from typing import final

@final
class PreparedQuery:
    """A query of which all but the token and its signature is encoded once. Immutable; may be shared between threads.

    before: what stands before the query and is not encoded, such as a user and its `?`; at most 65535 bytes as UTF-8.
    authorizer_name: None leaves it out. token_key_name: what the token's own parameter is called; None where there will
    be no token.
    Raises CredentialsError that names the argument.
    """

    def __new__(cls, before: str, authorizer_name: str | None, token_key_name: str | None) -> PreparedQuery: ...
    def fill(self, token: str | None = None, signature: str | None = None) -> str:
        """The whole text with this token, and with its signature in base64 if it has one; or all but the token.

        Raises CredentialsError that names the argument, where one is not a str, holds a lone surrogate or takes more
        than 65535 bytes as UTF-8.
        """

def is_base64(text: str) -> bool:
    """Whether this looks like standard base64 on one line: `[A-Za-z0-9+/]+={0,2}`, as AWS's API wants a signature.

    What it decodes to is not looked at.
    Raises CredentialsError for what is not a str, holds a lone surrogate or takes more than 65535 bytes as UTF-8.
    """

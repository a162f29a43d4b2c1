"""`python -m iotwire`: the same as the `iotwire` command."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())

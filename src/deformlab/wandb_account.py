"""Checks whether the user can log to Weights & Biases online, without importing wandb, which is slow."""

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["base_url", "has_api_key"]


def base_url() -> str:
    """The address of the Weights & Biases server."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def has_api_key() -> bool:
    """Whether wandb would find an API key, in `WANDB_API_KEY` or in the user's netrc file."""
    return bool(os.environ.get("WANDB_API_KEY")) or _in_netrc(urlsplit(base_url()).netloc)


def _in_netrc(host: str) -> bool:
    # wandb reads the file that NETRC names, or else the first of these files that exists.
    named = os.environ.get("NETRC")
    names = [named] if named else ["~/.netrc", "~/_netrc"]
    file = next((path for path in (Path(name).expanduser() for name in names) if path.exists()), None)
    if file is None:
        return False
    try:
        entry = netrc.netrc(file).authenticators(host)
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
        return False
    return entry is not None and bool(entry[2])

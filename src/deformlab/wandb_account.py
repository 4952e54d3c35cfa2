"""Whether this user can log to Weights & Biases online; imports no wandb, so that looking costs nothing."""

import os

import requests

__all__ = ["base_url", "has_api_key"]


def base_url() -> str:
    """The server that runs would be logged to."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def has_api_key() -> bool:
    """Whether wandb would find a key: in `WANDB_API_KEY` or in the user's netrc file, where it stores one."""
    return bool(os.environ.get("WANDB_API_KEY") or requests.utils.get_netrc_auth(base_url()))

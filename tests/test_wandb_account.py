"""`has_api_key`: where Weights & Biases would find one."""

import pytest

from deformlab.wandb_account import has_api_key

KEY = "login user\n  password 0123456789\n"


def test_a_key_in_the_environment_counts(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789")
    assert has_api_key()


@pytest.mark.parametrize(
    ("url", "content", "found"),
    [
        (None, f"machine api.wandb.ai\n  {KEY}", True),
        (None, f"machine other.example\n  {KEY}", False),
        (None, "machine api.wandb.ai\n  login user\n", False),
        (None, "machine api.wandb.ai\n  nonsense\n", False),
        (None, b"\xff\xfe", False),
        (None, None, False),
        ("http://own.example:8080", f"machine own.example:8080\n  {KEY}", True),
        ("http://own.example:8080", f"machine api.wandb.ai\n  {KEY}", False),
    ],
)
def test_a_key_in_netrc_counts_for_its_server(monkeypatch, tmp_path, url, content, found):
    file = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(file))
    if url is not None:
        monkeypatch.setenv("WANDB_BASE_URL", url)
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert has_api_key() == found


def test_without_netrc_in_the_environment_the_home_folder_is_looked_into(monkeypatch, tmp_path):
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_api_key()
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai\n  {KEY}")
    assert has_api_key()

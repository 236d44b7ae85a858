"""hf://owner/name: a world from a hub's cache, offline, and one line for every way in which it cannot be had."""

import fnmatch
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants, errors

import mlxworld
from mlxworld import MlxworldError
from mlxworld.files import hub
from tests.play.small_world import small_world

FIRST, SECOND = "1" * 40, "2" * 40


def cached(cache: Path, repo: str, refs: dict[str, str]) -> Path:
    """The cache of a hub that holds a world at a commit, as huggingface_hub lays it out; refs: commits by name."""
    base = cache / f"models--{repo.replace('/', '--')}"
    for ref, commit in refs.items():
        (base / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (base / "refs" / ref).write_text(commit)
    return base / "snapshots"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    cache = tmp_path_factory.mktemp("hub")
    snapshots = cached(cache, "someone/small.world", {"main": SECOND, "v1": FIRST})
    small_world(snapshots / FIRST)
    small_world(snapshots / SECOND)
    config = snapshots / SECOND / "config.json"
    config.write_text(config.read_text().replace('"small"', '"second"'))
    other = cached(cache, "someone/other", {"main": FIRST}) / FIRST
    other.mkdir(parents=True)
    (other / "README.md").write_text("no world")
    return cache


@pytest.fixture
def offline(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def refuses(address, match):
    with pytest.raises(MlxworldError, match=match) as failure:
        mlxworld.World.load(address)
    assert "\n" not in str(failure.value) and address in str(failure.value)


def test_a_world_of_the_hub_plays_as_its_folder_does(offline, cache):
    world = mlxworld.World.load("hf://someone/small.world", "torch")
    assert world.name == "second"
    local = mlxworld.World.load(cache / "models--someone--small.world/snapshots" / SECOND, "torch")
    np.testing.assert_array_equal(world.reset(3).video, local.reset(3).video)


@pytest.mark.parametrize("revision", ["v1", FIRST])
def test_a_revision_is_a_tag_or_a_commit(offline, revision):
    assert mlxworld.World.load(f"hf://someone/small.world@{revision}", "torch").name == "small"


def test_what_cannot_be_had_is_one_line(offline):
    refuses("hf://someone/absent", "not in the cache")
    refuses("hf://someone/small.world@v9", "not in the cache")
    refuses("hf://someone/other", "holds no world")


WEIRD = [
    *("hf://", "hf://name", "hf://a/b/c", "hf://../x", "hf://a/..", "hf://a/../../x", "hf:///etc/passwd", "hf://a/.b"),
    *("hf://a/b@", "hf://a/b@../../x", "hf://a/b@/x", "hf://a/b@v1/..", "hf://a/b c", "hf://a--b/c", "hf://a/b\n"),
    *("hf://a/b..c", "hf://a\\b/c", "hf://a/b@v1@v2", "hf://a/b?x=1", "hf://-a/b", "hf://ä/b"),
]


@pytest.mark.parametrize("address", WEIRD)
def test_weird_addresses_never_reach_the_hub(address, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(MlxworldError, match="is no address of a world"):
        mlxworld.World.load(address)


ERRORS = [
    ("RepositoryNotFoundError", "no such repository"),
    ("GatedRepoError", "must grant access"),
    ("RevisionNotFoundError", "no such revision"),
    ("HfHubHTTPError", "503 Server Error"),
]


@pytest.mark.parametrize(("kind", "line"), ERRORS)
def test_what_the_hub_answers_is_one_line(monkeypatch, kind, line):
    error = getattr(errors, kind)
    error = error.__new__(error)  # its constructor wants the hub's whole answer
    error.args = ("503 Server Error\nRequest ID: 1",)

    def answer(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    refuses("hf://someone/world", line)


def test_only_a_worlds_own_files_are_asked_for(monkeypatch, tmp_path):
    asked = {}

    def download(repo, **options):
        asked.update(options, repo=repo)
        return str(small_world(tmp_path))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    hub.folder("hf://someone/world@v1")
    assert (asked["repo"], asked["revision"]) == ("someone/world", "v1") and set(asked["allow_patterns"]) == set(
        hub.FILES
    )
    names = [p.name for p in tmp_path.iterdir()]
    assert names and all(any(fnmatch.fnmatch(name, pattern) for pattern in hub.FILES) for name in names)


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refuses("hf://someone/world", r"pip install \"mlxworld\[hub\]\"")


def test_the_environment_says_where_the_cache_is(cache):
    """As a person would: variables of the environment, the command line, no network."""
    code = "from mlxworld.files import hub; print(hub.folder('hf://someone/small.world'))"
    env = {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
    assert done.stdout.strip().endswith(SECOND), done.stderr

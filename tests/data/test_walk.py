"""One walk for all that reads folders: what it finds, in which order, and what it counts as skipped."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from depthattn.data import DataError
from depthattn.data.walk import find_files, in_words, natural_key


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path, *, inside: bool = False) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_files(folder, {".png", ".jpg"}, inside=inside).files]


def test_numbers_in_names_are_numbers() -> None:
    order = ["1.png", "2.png", "10.png", "a2b3", "a2b20", "a10b1", "b", "b/2.png", "b/10.png", "b1/1.png"]
    shuffled = random.Random(0).sample(order, len(order))
    assert sorted(shuffled, key=natural_key) == order
    # Two names for one number keep one order, whatever the folder lists first.
    assert sorted(["01.png", "1.png"], key=natural_key) == sorted(["1.png", "01.png"], key=natural_key)
    # Of digits that are not those of ASCII, Python takes some for numbers and others not.
    others = ["1a.png", "1²3.png", "a", "²", "²2.png", "²10.png", "٣/1.png"]
    assert sorted(random.Random(0).sample(others, len(others)), key=natural_key) == others


def test_any_case_of_suffix_and_nothing_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "10.PNG", "2.png", "1.Jpg", "._2.png", ".hidden.png", "Thumbs.db", "notes", ".git/a.png")
    (tmp_path / "sub").mkdir()
    found = find_files(tmp_path, {".png", ".jpg"})
    assert [path.name for path in found.files] == ["1.Jpg", "2.png", "10.PNG"]
    assert found.skipped == {"hidden": 3, "of another kind": 2, "a folder": 1}
    assert in_words(found.skipped) == "skipped 6: 1 a folder, 3 hidden, 2 of another kind"
    assert in_words({}) == ""


def test_folders_inside_are_walked_where_asked(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.png", "a10/1.png", "a2/deep/1.png", "c.png", ".x/1.png")
    assert names(tmp_path) == ["c.png"]
    assert names(tmp_path, inside=True) == ["a2/deep/1.png", "a10/1.png", "b/1.png", "c.png"]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "disk/1.png", "disk/2.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "frames").symlink_to(tmp_path / "disk")
    (tmp_path / "data" / "one.png").symlink_to(tmp_path / "disk" / "1.png")
    (tmp_path / "root").symlink_to(tmp_path / "data")
    assert names(tmp_path / "root", inside=True) == ["frames/1.png", "frames/2.png", "one.png"]


def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    found = find_files(tmp_path, {".png"}, inside=True)
    assert [path.name for path in found.files] == ["1.png"]
    assert found.skipped == {"a folder inside itself": 1}


@pytest.mark.parametrize("target", ["gone.png", "1.png"])
def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path, target: str) -> None:
    (tmp_path / "1.png").symlink_to(tmp_path / target)
    with pytest.raises(DataError, match=rf"1\.png: expected a link to what is there, got one to .*{target}"):
        find_files(tmp_path, {".png"})


def test_a_link_to_a_folder_that_is_gone_is_an_error_where_folders_count(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    (tmp_path / "scene").symlink_to(tmp_path / "gone")
    assert names(tmp_path) == ["1.png"]
    with pytest.raises(DataError, match=r"scene: expected a link to what is there, got one to .*gone"):
        names(tmp_path, inside=True)


def test_what_is_no_file_is_skipped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    found = find_files(tmp_path, {".png"})
    assert (found.files, found.skipped) == ((), {"neither file nor folder": 1, "a folder": 1})


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    for path in (tmp_path / "none", tmp_path / "1.png", tmp_path / "a\0b"):
        with pytest.raises(DataError, match="expected a folder that can be read, got: "):
            find_files(path, {".png"})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    (tmp_path / "a").chmod(0)
    with pytest.raises(DataError, match="a: expected a folder that can be read, got: Permission denied"):
        find_files(tmp_path, {".png"}, inside=True)
    (tmp_path / "a").chmod(0o700)

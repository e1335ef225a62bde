"""Lists of frames as people have them: separators, quotes, headers, columns, and where their lines start."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthattn.data import DataError, RGBDList
from depthattn.data.frame_lists import FrameList, read_list

NAMES = ("a.jpg", "my room.jpg", "b,1.jpg", "a_depth.png", "my depth.png", "b,1.png", "a_label.png", "s.png")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for name in NAMES:
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def read(tree: Path, text: str, **options: object) -> FrameList:
    (tree / "list.csv").write_text(text, encoding="utf-8")
    return read_list(tree / "list.csv", tree, **options)  # type: ignore[arg-type]  # each test's own


def names(found: FrameList) -> list[tuple[str | None, ...]]:
    return [tuple(None if path is None else path.name for path in frame[:3]) for frame in found.frames]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg a_depth.png", ("a.jpg", "a_depth.png", None)),
        ("a.jpg \t  a_depth.png", ("a.jpg", "a_depth.png", None)),
        ("a.jpg\ta_depth.png", ("a.jpg", "a_depth.png", None)),
        ("a.jpg,a_depth.png", ("a.jpg", "a_depth.png", None)),
        ("a.jpg, a_depth.png\r\n", ("a.jpg", "a_depth.png", None)),
        ("my room.jpg,my depth.png", ("my room.jpg", "my depth.png", None)),
        ("my room.jpg\tmy depth.png", ("my room.jpg", "my depth.png", None)),
        ('"my room.jpg" "my depth.png"', ("my room.jpg", "my depth.png", None)),
        ('"my room.jpg","my depth.png"', ("my room.jpg", "my depth.png", None)),
        ('"b,1.jpg","b,1.png"', ("b,1.jpg", "b,1.png", None)),
        ("b,1.jpg b,1.png", ("b,1.jpg", "b,1.png", None)),
        ("/a.jpg None", ("a.jpg", None, None)),
        ("a.jpg,", ("a.jpg", None, None)),
    ],
)
def test_separators_and_quotes(tree: Path, text: str, expected: tuple[str | None, ...]) -> None:
    assert names(read(tree, text)) == [expected]


@pytest.mark.parametrize(
    ("text", "expected", "focal"),
    [
        ("image,depth\na.jpg,a_depth.png", ("a.jpg", "a_depth.png", None), None),
        ("Depth,RGB\na_depth.png,a.jpg", ("a.jpg", "a_depth.png", None), None),
        ("filename,gt_path\na.jpg,a_depth.png", ("a.jpg", "a_depth.png", None), None),
        (",image,depth\n0,a.jpg,a_depth.png", ("a.jpg", "a_depth.png", None), None),
        (
            "image depth focal label\na.jpg a_depth.png 500.5 a_label.png",
            ("a.jpg", "a_depth.png", "a_label.png"),
            500.5,
        ),
        ("rgb\tlabels\na.jpg\ta_label.png", ("a.jpg", None, "a_label.png"), None),
        ("image,scene,depth\na.jpg,kitchen,a_depth.png", ("a.jpg", "a_depth.png", None), None),
    ],
)
def test_a_header_names_the_columns(
    tree: Path, text: str, expected: tuple[str | None, ...], focal: float | None
) -> None:
    found = read(tree, text)
    assert names(found) == [expected]
    assert found.frames[0].focal == focal
    assert found.has_labels == (expected[2] is not None)
    assert found.unread is None
    assert "with a header" in found.words


def test_absolute_paths(tree: Path) -> None:
    lines = [f"{tree / 'a.jpg'},{tree / 'a_depth.png'}", f"{tree / 'my room.jpg'},{tree / 'my depth.png'}"]
    (tree / "lists").mkdir()
    for header in ("", "image,depth\n"):
        (tree / "lists" / "a.csv").write_text(header + "\n".join(lines))
        frames = RGBDList(tree / "lists" / "a.csv").frames
        assert [frame.depth for frame in frames] == [tree / "a_depth.png", tree / "my depth.png"]
    # A root that is given is where lines start, whatever they look like.
    with pytest.raises(DataError, match=r"line 2: expected an existing file"):
        RGBDList(tree / "lists" / "a.csv", tree)


def test_columns_without_a_header(tree: Path) -> None:
    third = "a.jpg a_depth.png a_label.png"
    assert names(read(tree, third)) == [("a.jpg", "a_depth.png", None)]
    # Marigold's third column is filled depth: files that nothing calls labels are not read as such.
    assert read(tree, third).unread == "a_label.png"
    assert names(read(tree, third, labelled=True)) == [("a.jpg", "a_depth.png", "a_label.png")]
    both = read(tree, "a.jpg a_depth.png a_label.png 518.8\na.jpg None None 20", labelled=True)
    assert names(both) == [("a.jpg", "a_depth.png", "a_label.png"), ("a.jpg", None, None)]
    assert [frame.focal for frame in both.frames] == [518.8, 20.0]
    assert both.words == "a list of image, depth, labels, focal, blank-separated"
    assert read(tree, "a.jpg,a_depth.png,500").words == "a list of image, depth, focal, comma-separated"


def test_lines_start_from_the_first_folder_that_has_the_first_image(tree: Path) -> None:
    text = "data/a.jpg,data/a_depth.png"
    (tree / "list.csv").write_text(text)
    found = read_list(tree / "list.csv")
    assert (found.root, names(found)) == (tree.parent, [("a.jpg", "a_depth.png", None)])
    with pytest.raises(DataError, match=r"line 1: expected an existing file, got .*data/data/a\.jpg"):
        read_list(tree / "list.csv", tree)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "my room.jpg my depth.png x y z",
            r"line 1: expected 2 to 4 columns \(.*\), .* quotes around names that hold one of these, got 7",
        ),
        ("a.jpg;a_depth.png", r"line 1: expected 2 to 4 columns .*, separated by commas, tabs or blanks, .*, got 1"),
        ("a.jpg a_depth.png\na.jpg a_depth.png 5 6", r"line 2: expected 2 to 4 columns .*, got 4"),
        ("image,depth", "expected lines below the header, got none"),
        ("image,depth\na.jpg,gone.png", r"line 2: expected an existing file, got .*gone\.png"),
        ("image,depth\n,a_depth.png", "line 2: expected an existing file, got None"),
        ("a.jpg a_depth.png a_label.png\na.jpg a_depth.png gone.png", None),
        ("a.jpg a_depth.png gone.png", "line 1: expected labels or a focal length in pixels as third column"),
        (
            "a.jpg a_depth.png a_label.png a_label.png",
            "expected columns image, depth, labels, focal, got two of labels",
        ),
    ],
)
def test_what_does_not_parse_names_its_line(tree: Path, text: str, message: str | None) -> None:
    with pytest.raises(DataError, match=message or r"line 2: expected an existing file, got .*gone\.png"):
        read(tree, text, labelled=True)


def test_a_link_that_leads_nowhere_is_no_file(tree: Path) -> None:
    (tree / "dead.jpg").symlink_to(tree / "gone.jpg")
    (tree / "alive.jpg").symlink_to(tree / "a.jpg")
    assert names(read(tree, "alive.jpg a_depth.png")) == [("alive.jpg", "a_depth.png", None)]
    with pytest.raises(DataError, match=r"expected an existing file, got .*dead\.jpg"):
        read(tree, "dead.jpg a_depth.png")


def test_progress_is_told_line_by_line(tree: Path) -> None:
    told: list[tuple[int, int]] = []
    read(tree, "image,depth\n" + "a.jpg,a_depth.png\n" * 3, on_line=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_labels_of_a_list_need_the_number_of_classes(tree: Path) -> None:
    (tree / "list.csv").write_text("image,depth,labels\na.jpg,a_depth.png,a_label.png")
    with pytest.raises(DataError, match=r"list\.csv: expected num_classes for its column of labels, got none"):
        RGBDList(tree / "list.csv")
    dataset = RGBDList(tree / "list.csv", num_classes=3)
    assert (dataset.num_classes, dataset.class_names) == (3, ("0", "1", "2"))
    (tree / "list.csv").write_text("a.jpg a_depth.png")
    assert RGBDList(tree / "list.csv", num_classes=3).num_classes == 0

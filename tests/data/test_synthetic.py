from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from depthattn.data import SyntheticRooms
from depthattn.data.rooms.materials import ceiling, floor, wall
from depthattn.data.rooms.raycast import Camera, cast, focal_length, glance
from depthattn.data.rooms.scene import Material, Part, Scene

GREY = Material("plain", 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def empty_room(width: float = 4.0, height: float = 3.0, length: float = 6.0) -> Scene:
    return Scene((width, height, length), (GREY, GREY), GREY, GREY)


def test_fields_have_the_agreed_types_and_ranges() -> None:
    dataset = SyntheticRooms(4)
    for index in range(4):
        sample = dataset[index]
        assert sample["image"].shape == (3, 120, 160)
        assert sample["image"].dtype == torch.float32
        assert 0.0 <= float(sample["image"].min()) < float(sample["image"].max()) <= 1.0
        assert sample["depth"].shape == (1, 120, 160)
        assert sample["depth"].dtype == torch.float32
        valid = sample["depth"][sample["depth"] != 0]
        assert 0.5 <= float(valid.min()) <= float(valid.max()) <= 10.0
        assert sample["labels"].dtype == torch.int64
        assert 0 <= int(sample["labels"].min()) <= int(sample["labels"].max()) < dataset.num_classes
    assert dataset.num_classes == len(dataset.class_names) == 14


def test_a_frame_depends_on_seed_and_index_alone() -> None:
    short, long = SyntheticRooms(3, size=(48, 64)), SyntheticRooms(300, size=(48, 64))
    backwards = [long[index] for index in (2, 1, 0)][::-1]
    torch.testing.assert_close([short[index] for index in range(3)], backwards, rtol=0, atol=0)
    torch.testing.assert_close(short[-1], short[2], rtol=0, atol=0)
    torch.manual_seed(5)
    np.random.seed(5)
    torch.testing.assert_close(short[1], backwards[1], rtol=0, atol=0)


def test_frames_and_seeds_differ() -> None:
    means = [
        round(float(SyntheticRooms(6, size=(48, 64), seed=seed)[index]["depth"].mean()), 6)
        for seed in range(3)
        for index in range(6)
    ]
    assert len(set(means)) == 18


# A worker that is spawned imports everything first.
@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_give_the_same_frames(context: str, workers: int) -> None:
    dataset = SyntheticRooms(6, size=(24, 32))
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, multiprocessing_context=context)
    images = torch.cat([batch["image"] for batch in loader])
    torch.testing.assert_close(images, torch.stack([dataset[index]["image"] for index in range(6)]), rtol=0, atol=0)


def test_holes_only_remove_depth() -> None:
    with_holes, dense = SyntheticRooms(6), SyntheticRooms(6, holes=False)
    shares = []
    for index in range(6):
        holed, full = with_holes[index], dense[index]
        seen = holed["depth"] > 0
        assert torch.equal(holed["depth"][seen], full["depth"][seen])
        assert torch.equal(holed["image"], full["image"])
        assert torch.equal(holed["labels"], full["labels"])
        assert not seen[0, :2].any()  # the border of the sensor
        assert not seen[0, :, -2:].any()
        shares.append(1.0 - float(seen.float().mean()))
    assert 0.06 < np.mean(shares) < 0.3
    assert (dense[0]["depth"] > 0).all()


def test_depth_and_classes_have_a_long_tail() -> None:
    dataset = SyntheticRooms(150, size=(30, 40))
    frames = [dataset[index] for index in range(150)]
    depth = torch.cat([frame["depth"].flatten() for frame in frames])
    depth = depth[depth > 0]
    near, far, very_far = (float(((depth > a) & (depth <= b)).float().mean()) for a, b in [(1.5, 4), (5, 7), (7, 10)])
    assert near > 0.7
    assert 0.01 < far < 0.15
    assert 0.001 < very_far < far
    labels = torch.cat([frame["labels"].flatten() for frame in frames])
    share = torch.bincount(labels, minlength=14) / labels.numel()
    assert share.min() > 0
    assert share.max() / share.min() > 20


def test_camera_in_an_empty_room_sees_the_walls_where_they_are() -> None:
    room = empty_room()
    hits = cast(room.boxes(), Camera((0.5, 1.0, -2.0), 0.0, 0.0, 0.0), (3, 3))
    focal = focal_length((3, 3))
    assert focal == pytest.approx(3 * 519 / 480)
    # Straight ahead: the far wall at z = +3. Up by one pixel: the same depth, as depth runs along the axis.
    np.testing.assert_allclose(hits.depth[1, 1], 5.0, rtol=1e-5)
    # Floor 1 m below, one pixel down: the ray falls 1/focal per metre and meets the wall first (5 m) unless focal < 5.
    np.testing.assert_allclose(hits.depth[2, 1], min(5.0, focal * 1.0), rtol=1e-5)
    np.testing.assert_allclose(hits.depth[0, 1], min(5.0, focal * 2.0), rtol=1e-5)
    # The right wall is 1.5 m to the right, the left one 2.5 m to the left: the picture is not mirrored.
    np.testing.assert_allclose(hits.depth[1, 2], min(5.0, focal * 1.5), rtol=1e-5)
    np.testing.assert_allclose(hits.depth[1, 0], min(5.0, focal * 2.5), rtol=1e-5)


def test_a_turned_box_is_hit_on_its_edge() -> None:
    room = empty_room(8.0, 3.0, 8.0)
    room.add("table", [Part((0.0, 1.0, 0.0), (1.0, 2.0, 1.0), GREY)], (0.0, 0.0, 2.0), math.pi / 4)
    hits = cast(room.boxes(), Camera((0.0, 1.0, -3.0), 0.0, 0.0, 0.0), (41, 41))
    assert hits.box[20, 20] == 1
    np.testing.assert_allclose(hits.depth[20, 20], 5.0 - math.sqrt(0.5), rtol=1e-5)
    seen = np.flatnonzero(hits.box[20] == 1)
    half_width = math.sqrt(0.5) * hits.focal / 5.0
    assert seen.min() == math.ceil(20 - half_width)
    assert seen.max() == math.floor(20 + half_width)


def test_rays_parallel_to_faces_divide_by_nothing() -> None:
    room = empty_room(8.0, 3.0, 8.0)
    # Seen along its own side, half way up: the middle rays are parallel to four of its faces.
    room.add("table", [Part((0.0, 1.0, 0.0), (1.0, 2.0, 1.0), GREY)], (2.0, 0.0, 2.0), math.pi / 4)
    camera = Camera((0.0, 1.0, 0.0), math.pi / 4, 0.0, 0.0)
    with np.errstate(all="raise"):
        hits = cast(room.boxes(), camera, (5, 5))
        depth, _ = glance(room.boxes(), camera, (5, 5))
    assert hits.depth[2, 2] == pytest.approx(math.sqrt(8.0) - 0.5, rel=1e-5)
    np.testing.assert_allclose(hits.depth, depth, rtol=1e-5)


def test_windowed_and_whole_tests_of_the_boxes_agree() -> None:
    random = np.random.default_rng(0)
    room = empty_room(6.0, 3.0, 6.0)
    for _ in range(30):
        part = Part((0.0, 0.5, 0.0), (random.uniform(0.1, 1), random.uniform(0.1, 2), random.uniform(0.1, 1)), GREY)
        room.add("chair", [part], (random.uniform(-3, 3), 0.0, random.uniform(-3, 3)), random.uniform(0, 6))
    for yaw in (0.0, 1.0, 2.5, 4.0):
        camera = Camera((0.3, 1.4, -0.2), yaw, -0.3, 0.1)
        hits = cast(room.boxes(), camera, (24, 32))
        depth, box = glance(room.boxes(), camera, (24, 32))
        np.testing.assert_allclose(hits.depth, depth, rtol=1e-5)
        assert (hits.box == box).mean() > 0.995  # ties of overlapping boxes


def test_size_keeps_the_view_within_the_sensors() -> None:
    assert focal_length((480, 640)) == 519.0
    assert 240 / focal_length((480, 960)) < 240 / 519 + 1e-9
    for size in [(1, 1), (8, 200), (97, 33)]:
        assert SyntheticRooms(1, size=size)[0]["image"].shape == (3, *size)


def test_materials_are_colours() -> None:
    random = np.random.default_rng(0)
    for make in (wall, floor, ceiling):
        for _ in range(100):
            material = make(random)
            assert all(0.0 <= value <= 1.0 for value in (*material.first, *material.second))


def test_transform_gets_the_sample() -> None:
    dataset = SyntheticRooms(1, size=(24, 32), transform=lambda sample: {**sample, "depth": sample["depth"] * 0})
    assert (dataset[0]["depth"] == 0).all()


def test_iteration_ends_and_wrong_options_are_named() -> None:
    assert sum(1 for _ in SyntheticRooms(3, size=(8, 8))) == 3
    with pytest.raises(IndexError, match="expected an index below 3, got 3"):
        SyntheticRooms(3)[3]
    with pytest.raises(ValueError, match="SyntheticRooms: expected length >= 1, got 0"):
        SyntheticRooms(0)
    with pytest.raises(ValueError, match=r"SyntheticRooms: expected size .*, got \(0, 4\)"):
        SyntheticRooms(1, size=(0, 4))
    with pytest.raises(ValueError, match="SyntheticRooms: expected seed >= 0, got -1"):
        SyntheticRooms(1, seed=-1)

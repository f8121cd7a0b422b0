from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anygpt_models.video_codec import MotionCodec, VideoCodec
from anygpt_models.video_pipeline import VideoPipeline
from anygpt_models.video_recogniser import MotionRecogniser
from services.trainer.data import videos as moving
from services.trainer.data import world


def object_mask(frames: Tensor) -> Tensor:
    """What differs from a white background, [24, H, W]."""
    return ((1 - frames[0]).mean(1) > 0.25).float()


def centroids(frames: Tensor) -> Tensor:
    """Horizontal and vertical place of the thing in each frame, in pixels [24, 2]."""
    mask, (rows, columns) = (
        object_mask(frames),
        torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij"),
    )
    return (
        torch.stack([(mask * columns).sum((1, 2)), (mask * rows).sum((1, 2))], dim=1)
        / mask.sum((1, 2))[:, None]
    )


@pytest.mark.parametrize(("motion", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1)])
def test_a_clip_moves_in_the_direction_asked_for(
    clips: dict[str, Tensor], motion: str, axis: int, sign: int
) -> None:
    path = centroids(clips[motion])
    assert sign * float(path[-1, axis] - path[0, axis]) > 20
    assert abs(float(path[-1, 1 - axis] - path[0, 1 - axis])) < 10


def test_a_bouncing_thing_rises_and_comes_back(clips: dict[str, Tensor]) -> None:
    height = -centroids(clips["bounce"])[:, 1]
    assert float(height[6] - height[12]) > 12
    assert float(height[18] - height[12]) > 12


def test_a_growing_thing_grows(clips: dict[str, Tensor]) -> None:
    size = object_mask(clips["grow"]).sum((1, 2))
    assert float(size[-1]) > 2 * float(size[0])


def test_a_spinning_thing_turns_and_stays(clips: dict[str, Tensor]) -> None:
    frames = clips["spin"]
    path = centroids(frames)
    assert float((path - path[12]).norm(dim=1).max()) < 16
    assert float((frames[0, 0].flip(1, 2) - frames[0, 12]).abs().mean()) < float(
        (frames[0, 0] - frames[0, 12]).abs().mean()
    )


def test_known_motion_survives_its_codes(motion_codec: MotionCodec) -> None:
    maps = moving.relative_poses(torch.stack([moving.motion_poses(motion) for motion in world.MOTIONS]))
    affine, _ = motion_codec.moved(motion_codec.poses(maps))
    assert float((affine - maps).square().mean().sqrt()) < 0.1


def test_a_clip_becomes_56_codes_and_a_clip_again(videos: VideoPipeline, clips: dict[str, Tensor]) -> None:
    frames = clips["left"]
    codec = VideoCodec(videos.image_codec, videos.motion_codec)
    codes = codec.encode(frames)
    assert codes.shape == (1, 56)
    assert codec.decode(codes).shape == (1, 24, 3, 128, 128)
    with pytest.raises(ValueError, match="24 frames, got 10"):
        codec.encode(frames[:, :10])


def test_the_motion_of_a_drawn_clip_is_named(
    clips: dict[str, Tensor], motion_recogniser: MotionRecogniser
) -> None:
    found = [motion_recogniser.name(clips[motion])[0] for motion in world.MOTIONS]
    assert sum(a == b for a, b in zip(found, world.MOTIONS, strict=True)) >= 5, found


def test_progress_counts_the_steps_of_motion_and_picture(videos: VideoPipeline) -> None:
    seen: list[tuple[int, int]] = []

    def report(_: object, step: int, left: int, tensors: dict[str, object]) -> dict[str, object]:
        seen.append((step, left))
        return tensors

    videos(caption="a cat rising", num_inference_steps=5, callback_on_step_end=report)
    assert seen == [(0, 4), (1, 3), (2, 2), (3, 1), (4, 0)]


def test_one_seed_gives_one_clip_alone_and_in_a_batch(videos: VideoPipeline) -> None:
    captions = ["a cat rising on a red background", "a bus moving left on a pink background"]
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    together = videos(caption=captions, num_inference_steps=2, generator=generators).codes
    alone = videos(
        caption=captions[1], num_inference_steps=2, generator=[torch.Generator().manual_seed(2)]
    ).codes
    assert torch.equal(together[1:], alone)

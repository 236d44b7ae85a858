import numpy as np
import pytest

from mlxworld.errors import MlxworldError
from mlxworld.evaluate import video


def test_psnr_and_l1_by_hand():
    real = np.full((2, 16, 16, 3), 100, np.uint8)
    dream = real.copy()
    dream[1] += 5
    np.testing.assert_allclose(video.psnr(real, dream), [100, 20 * np.log10(255 / 5)])
    np.testing.assert_allclose(video.l1(dream, real), [0, 5])  # no wrap of uint8 either way
    np.testing.assert_allclose(video.l1(real, dream), [0, 5])


def waves() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:24, 0:30]
    a = 127 + 100 * np.sin(x / 3 + y / 5)
    b = np.where((x > 10) & (x < 16) & (y > 8) & (y < 18), 230, a * 0.8 + 10)
    return tuple(np.rint(p).astype(np.uint8)[..., None].repeat(3, -1) for p in (a, b))  # type: ignore[return-value]


def test_ssim_agrees_with_scikit_image():
    real, dream = waves()
    # structural_similarity(a, b, data_range=255, gaussian_weights=True, use_sample_covariance=False) of 0.25
    assert video.ssim(real, dream) == pytest.approx(0.7990463208027135, abs=1e-5)
    assert video.ssim(real, real) == pytest.approx(1)
    np.testing.assert_allclose(video.ssim(np.stack([real, real]), np.stack([real, dream])), [1, 0.799046], atol=1e-5)


def test_colour_pictures_agree_with_scikit_image():
    rng = np.random.default_rng(5)
    real = rng.integers(0, 256, (40, 52, 3), dtype=np.uint8)
    dream = np.clip(real.astype(int) + rng.integers(-40, 40, real.shape), 0, 255).astype(np.uint8)
    # scikit-image 0.26: peak_signal_noise_ratio of colours, structural_similarity of their luma as above
    assert video.psnr(real, dream) == pytest.approx(21.18963047007624, abs=1e-5)
    assert video.ssim(real, dream) == pytest.approx(0.9528308540828563, abs=1e-5)


def test_gmsd_by_hand_and_as_an_eye_sees():
    """Against the formula written out pixel by pixel; a broken spot is worse than a dim picture of equal error."""
    real, dream = waves()
    y, x = (a.astype(np.float32) @ video.LUMA for a in (real, dream))
    y, x = ((a[0::2, 0::2] + a[1::2, 0::2] + a[0::2, 1::2] + a[1::2, 1::2]) / 4 for a in (y, x))
    similar = []
    for i, j in np.ndindex(y.shape):
        slopes = []
        for a in (y, x):
            near = a[np.ix_(np.clip([i - 1, i, i + 1], 0, 11), np.clip([j - 1, j, j + 1], 0, 14))]
            slopes.append(np.hypot((near[2] - near[0]).sum() / 3, (near[:, 2] - near[:, 0]).sum() / 3))
        similar.append((2 * slopes[0] * slopes[1] + 170) / (slopes[0] ** 2 + slopes[1] ** 2 + 170))
    assert video.gmsd(real, dream) == pytest.approx(np.std(similar), abs=1e-4)
    assert video.gmsd(real, real) == 0
    dim, spot = (real * 0.9).astype(np.uint8), real.copy()
    spot[4:10, 4:10] = 0
    assert video.gmsd(real, dim) < 0.3 * video.gmsd(real, spot)
    both = video.gmsd(np.stack([real, real]), np.stack([real, dream]))
    np.testing.assert_allclose(both, [0, float(np.std(similar))], atol=1e-4)


def test_small_or_unlike_pictures_are_refused():
    with pytest.raises(MlxworldError, match="at least 11x11"):
        video.ssim(np.zeros((1, 8, 30, 3), np.uint8), np.zeros((1, 8, 30, 3), np.uint8))
    with pytest.raises(MlxworldError, match="one shape"):
        video.l1(np.zeros((1, 16, 16, 3), np.uint8), np.zeros((2, 16, 16, 3), np.uint8))


@pytest.fixture
def dot() -> np.ndarray:
    """A white dot at (8, t) on grey, 9 frames; something bright that stands still at (2, 2)."""
    clip = np.full((9, 16, 16, 3), 60, np.uint8)
    clip[:, 2, 2] = 255
    for t in range(9):
        clip[t, 8, 2 + t] = 255
    return clip


def test_the_mask_holds_what_moves_and_nothing_else(dot):
    mask = video.moving_mask(dot, grow=0)
    assert not mask[:, 2, 2].any()
    for t in range(9):
        assert mask[t].sum() == min(t + 1, 2)  # the dot, and where it was
        assert mask[t, 8, 2 + t]
    grown = video.moving_mask(dot, grow=1)
    assert grown[0].sum() == 9 and grown[0, 7:10, 1:4].all()
    np.testing.assert_array_equal(video.moving_mask(np.stack([dot, dot]))[1], grown)


def test_an_error_where_it_moves_is_not_diluted(dot):
    mask = video.moving_mask(dot, grow=0)
    dull = np.broadcast_to(video.mean_frame(dot[:, 2:3, 3:4]), dot.shape)  # plain background
    errors = video.moving_error(dot, dull, mask)
    assert errors[0] == pytest.approx(195) and errors[4] == pytest.approx(195 / 2)
    still = np.broadcast_to(dot[:1], dot.shape)
    assert np.isnan(video.moving_error(still, still, video.moving_mask(still))).all()


def test_baselines(dot):
    frozen = video.repeat_last(dot, 4)
    np.testing.assert_array_equal(frozen[:4], dot[:4])
    assert (frozen[4:] == dot[3]).all() and not (dot[4:] == dot[3]).all()
    np.testing.assert_array_equal(video.repeat_last(np.stack([dot, dot[::-1]]), 4)[0], frozen)
    mean = video.mean_frame(iter([dot[:3], dot[3:]]))
    np.testing.assert_array_equal(mean, video.mean_frame(dot))
    assert mean[2, 2, 0] == 255 and mean[8, 5, 0] == round((8 * 60 + 255) / 9)
    with pytest.raises(MlxworldError, match="at least one frame"):
        video.mean_frame([])

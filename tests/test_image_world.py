"""Training pictures: what they show is where the labels say, they repeat, and what varies leaves the labels true."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onet_ros.learning.appearance import draw_lights, draw_materials
from onet_ros.learning.image_world import ImageSource, ImageWorldSettings, make_image_samples
from onet_ros.learning.photo_faults import developed, mask_faults, photo_faults
from onet_ros.learning.photographs import RayGrid, draw_scene, look, photograph
from onet_ros.learning.world import OBJECT, TABLE, place_objects
from onet_ros.networks.picture import REACH
from onet_ros.networks.planes import CameraView
from onet_ros.scene.picture import PICTURE_BOX

SMALL = ImageWorldSettings(image_size=32, queries=256)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def samples():
    return make_image_samples(24, generator(), ImageWorldSettings(image_size=48, queries=1024, mask_errors=0.0))


class TestSamples:
    def test_what_is_inside_lies_in_the_mask(self, samples):
        """The pixel of a query inside the object is the object's, unless something stands in front: nearly always."""
        view = CameraView.looking_at_box(samples.viewpoint, REACH)
        place, _ = view.project(samples.queries)
        pixel = ((place + 1.0) * 24.0).long().clamp(0, 47)
        mask = samples.images[:, 3] > 127
        rows = torch.arange(len(mask))[:, None]
        hit = mask[rows, pixel[..., 1], pixel[..., 0]]
        assert hit[samples.inside].float().mean() > 0.9
        assert hit[~samples.inside].float().mean() < 0.6

    def test_most_of_the_object_is_in_the_box_and_it_stands_on_the_floor(self, samples):
        low, high = (torch.tensor(corner).float() for corner in PICTURE_BOX)
        assert ((samples.queries >= low) & (samples.queries <= high)).all()
        half = samples.queries.shape[1] // 2
        assert 0.01 < samples.inside[:, :half].float().mean() < 0.3
        lowest = torch.where(samples.inside, samples.queries[..., 2], 9.0).amin(dim=1)
        assert lowest.median() < 0.03

    def test_the_camera_stands_in_front(self, samples):
        assert (samples.viewpoint[:, 0] > 0.3).all()
        assert (samples.viewpoint[:, 1].abs() < 1e-3 * samples.viewpoint.norm(dim=1) + 1e-3).all()
        assert (samples.viewpoint[:, 2] > 0.0).all()

    def test_the_same_seed_gives_the_same_pictures(self):
        a, b, c = (make_image_samples(4, generator(seed), SMALL) for seed in (7, 7, 8))
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.inside, b.inside)
        assert a.images.shape != c.images.shape or not torch.equal(a.images, c.images)

    def test_a_batch_mirrors_picture_and_queries_together(self, samples):
        still = ImageSource(ImageWorldSettings(image_size=48, faults=0.0))
        batch = still.draw(samples, 0, 200, generator(1))
        images = samples.images.float() / 255.0
        mirrored = [
            torch.equal(batch.observation.images[row], images[row].flip(2)) for row in range(len(samples.images))
        ]
        plain = [torch.equal(batch.observation.images[row], images[row]) for row in range(len(samples.images))]
        assert all(a or b for a, b in zip(mirrored, plain, strict=True))
        assert 0 < sum(mirrored) < len(mirrored)
        for row, flipped in enumerate(mirrored):
            side = torch.tensor([1.0, -1.0 if flipped else 1.0, 1.0])
            known = {tuple(query) for query in (samples.queries[row] * side).tolist()}
            assert {tuple(query) for query in batch.queries[row].tolist()} <= known

    def test_faults_change_the_pictures_and_keep_them_pictures(self, samples):
        batch = ImageSource(ImageWorldSettings(image_size=48)).draw(samples, 0, 10, generator(1))
        images = batch.observation.images
        assert images.min() >= 0.0
        assert images.max() <= 1.0
        assert not torch.equal(images, samples.images.float() / 255.0)
        overlap = ((images[:, 3] > 0.5) & (samples.images[:, 3] > 127)).sum()  # some are mirrored
        assert overlap > 0


class TestPhotographs:
    def scene(self, n=6, families=("soap", "carton"), **how):
        objects = place_objects(n, generator(3), families=list(families))
        return objects, draw_scene(objects, how.get("neighbours", 0.0), how.get("glass", 0.0), generator(4))

    def from_above(self, objects, size=40, height=0.6):
        ticks = torch.linspace(-0.2, 0.2, size)
        v, u = torch.meshgrid(ticks, ticks, indexing="ij")
        rays = torch.stack([v, u, torch.full_like(u, -height)], dim=2).view(1, -1, 3)
        n = len(objects.surface)
        return RayGrid(torch.tensor([[0.0, 0.0, height]]).expand(n, 3), rays.expand(n, -1, -1), (size, size))

    def test_rays_meet_object_and_table_where_they_are(self):
        objects, scene = self.scene()
        rays = self.from_above(objects)
        seen = look(scene, rays)
        place = rays.position[:, None] + seen.distance.nan_to_num(posinf=0.0)[..., None] * rays.directions
        assert place[seen.label == TABLE][:, 2].abs().max() < 1e-5
        assert objects.distance(place)[seen.label == OBJECT].abs().max() < 1e-3

    def test_under_one_hard_light_the_object_casts_a_shadow_on_its_far_side(self):
        objects, scene = self.scene()
        rays = self.from_above(objects)
        directions = torch.tensor([0.8, 0.0, 0.6]).expand(len(objects.surface), 3, 3)
        lights = draw_lights(len(objects.surface), generator(), "cpu")
        lights = type(lights)(
            **{
                **vars(lights),
                "directions": directions,
                "colours": torch.tensor([1.0, 0.0, 0.0])[None, :, None].expand(len(objects.surface), 3, 3),
                "softness": torch.full((len(objects.surface),), 40.0),
            }
        )
        plain = draw_materials(len(objects.surface), generator(), "cpu")
        grey = type(plain)(
            **{**vars(plain), "pattern": torch.zeros_like(plain.pattern), "grain": torch.zeros_like(plain.grain),
               "colours": torch.full_like(plain.colours, 0.5), "specular": torch.zeros_like(plain.specular),
               "mirror": torch.zeros_like(plain.mirror)}
        )  # fmt: skip
        scene = type(scene)(**{**vars(scene), "lights": lights, "table": grey})
        seen = look(scene, rays)
        picture = photograph(scene, rays, seen).mean(dim=2)
        place = rays.position[:, None] + seen.distance.nan_to_num(posinf=0.0)[..., None] * rays.directions
        near = (place[..., 1].abs() < 0.01) & (seen.label == TABLE)
        beyond = 0.008  # metres beside the object
        for row in range(len(objects.surface)):
            low, high = objects.low[row, 0], objects.high[row, 0]
            shade = near[row] & (place[row, :, 0] < low - 0.001) & (place[row, :, 0] > low - beyond)
            sun = near[row] & (place[row, :, 0] > high + beyond) & (place[row, :, 0] < high + 0.05)
            if shade.any() and sun.any() and objects.high[row, 2] > 0.03:
                assert picture[row][shade].mean() < 0.8 * picture[row][sun].mean()

    def test_through_glass_the_table_shows(self):
        objects, solid = self.scene(glass=0.0)
        rays = self.from_above(objects)
        clear = type(solid)(
            **{**vars(solid), "own": type(solid.own)(**{**vars(solid.own), "opacity": torch.zeros(6) + 0.1})}
        )
        seen = look(solid, rays)
        a, b = (photograph(scene, rays, seen) for scene in (solid, clear))
        own = seen.label == OBJECT
        assert (a - b)[own].abs().mean() > 0.01
        torch.testing.assert_close(a[~own], b[~own])

    def test_radiance_is_finite_and_not_negative(self):
        objects, scene = self.scene(24, ("cup", "toy", "plate", "scissors"), neighbours=1.0, glass=0.5)
        rays = self.from_above(objects)
        picture = photograph(scene, rays, look(scene, rays))
        assert torch.isfinite(picture).all()
        assert (picture >= 0.0).all()
        assert developed(picture, generator()).dtype == torch.uint8


class TestFaults:
    images = torch.rand(16, 3, 32, 32, generator=generator(2))

    def test_no_faults_change_nothing(self):
        assert photo_faults(self.images, 0.0, generator()) is self.images
        masks = (self.images[:, 0] > 0.5).float()
        assert mask_faults(masks, 0.0, generator()) is masks

    def test_jpeg_keeps_flat_blocks_and_loses_fine_detail(self):
        from onet_ros.learning.photo_faults import _jpeg

        flat = torch.full((1, 3, 16, 16), 0.5)
        torch.testing.assert_close(_jpeg(flat, torch.ones(1)), flat, atol=0.02, rtol=0)
        coarse = _jpeg(self.images[:1], torch.tensor([4.0]))
        fine = _jpeg(self.images[:1], torch.tensor([0.01]))
        assert (fine - self.images[:1]).abs().mean() < 0.01 < (coarse - self.images[:1]).abs().mean()

    def test_outlines_move_by_a_pixel_or_two(self):
        disc = (torch.cartesian_prod(torch.arange(48.0), torch.arange(48.0)) - 24).norm(dim=1).view(48, 48) < 14
        masks = disc.float().expand(32, 48, 48)
        wrong = mask_faults(masks, 1.0, generator())
        area = wrong.sum(dim=(1, 2)) / disc.sum()
        assert 0.8 < area.min() < 0.97
        assert 1.03 < area.max() < 1.2
        assert np.isin(wrong.numpy(), (0.0, 1.0)).all()

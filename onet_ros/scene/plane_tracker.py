"""The support plane from cloud to cloud: looked for once, then confirmed as long as the points speak for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.scene.plane import PlaneFit, PlaneSettings, SupportPlane, find_support_plane, is_admissible, refined_plane

ENOUGH_SUPPORT = 0.8  # of the share of points that lay on the plane when it was found


class PlaneTracker:
    """`find_support_plane` for a stream of clouds, most of which show the same table.

    A plane found before is kept when nearly as many points lie on it as then; it is fitted to the new points, so that a
    slow drift is followed. Otherwise, and every `PlaneSettings.reuse` clouds (another plane may have become the better
    one), all planes are compared again.
    """

    def __init__(self) -> None:
        self._plane: SupportPlane | None = None
        self._support = 0.0
        self._reused = 0

    def find(
        self,
        points: ArrayLike,
        viewpoint: ArrayLike = (0.0, 0.0, 0.0),
        settings: PlaneSettings | None = None,
        up: ArrayLike | None = None,
    ) -> PlaneFit:
        """Arguments and result are those of `find_support_plane`; points are finite."""
        settings = settings or PlaneSettings()
        cloud = np.asarray(points)
        view = np.asarray(viewpoint, dtype=np.float64)
        if self._plane is not None and len(cloud) and self._reused < settings.reuse:
            fit = self._confirmed(self._plane, cloud, view, settings, up)
            if fit is not None:
                self._plane, self._reused = fit.plane, self._reused + 1
                return fit
        fit = find_support_plane(cloud, viewpoint, settings, up)
        self._plane, self._reused = fit.plane, 0
        if fit.plane is not None:
            self._support = _support(fit.plane, _sample(cloud, settings.sample_size, settings.seed), settings)
        return fit

    def _confirmed(
        self,
        plane: SupportPlane,
        cloud: NDArray[np.floating],
        view: NDArray[np.float64],
        settings: PlaneSettings,
        up: ArrayLike | None,
    ) -> PlaneFit | None:
        """The plane fitted to the new points, if they support it, and it still lies as a table may."""
        least = max(ENOUGH_SUPPORT * self._support, settings.min_inlier_fraction)
        sample = _sample(cloud, settings.sample_size, settings.seed)
        if _support(plane, sample, settings) < least:
            return None
        fitted = refined_plane(plane, _sample(cloud, settings.fit_size, settings.seed + 1), view, settings)
        support = _support(fitted, sample, settings)
        if support < least or not is_admissible(fitted, view, settings, up):
            return None
        return PlaneFit(fitted, "", support)


def _sample(cloud: NDArray[np.floating], count: int, seed: int) -> NDArray[np.floating]:
    return cloud[np.random.default_rng(seed).integers(len(cloud), size=count)]


def _support(plane: SupportPlane, sample: NDArray[np.floating], settings: PlaneSettings) -> float:
    """Share of the points that lie on the plane."""
    return float((np.abs(plane.height(sample)) < settings.distance_threshold).mean())

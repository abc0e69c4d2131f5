"""Scenes that are not flat: textured triangles, or one RGB-D picture."""

import math
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.images.sampler import build_pyramid
from deepservo.scene.solid_drawing import Mesh, draw, inverse_depth

NEAR = 1e-3  # of the scene's width: what is nearer to the camera is not seen
MAX_SLANT = 85.0  # deg; a surface seen at a greater angle from its normal is a depth edge


@dataclass(frozen=True)
class SolidScene:
    """Textured triangles in the world, both sides of which are seen.

    texture: (C, H, W) float32 in [0, 1]. vertices: [m]. triangles: numbers of their corners.
    texels: where each corner lies in the texture; a texel's centre is at integers. background: the
    grey level where nothing is; NaN: nothing is seen there. size: width and height [m], and
    centre [m], of the picture that the scene was made from; by default what the vertices span.
    Raises InputError where one of them is no such value.
    """

    texture: Float[Tensor, "c h w"]
    vertices: Float[Tensor, "v 3"]
    triangles: Int32[Tensor, "f 3"]
    texels: Float[Tensor, "f 3 2"]
    background: float = 1.0
    size: tuple[float, float] | None = None
    centre: tuple[float, float] = (0.0, 0.0)
    mesh: Mesh = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        put = object.__setattr__
        put(self, "vertices", self.vertices.double().contiguous())
        put(self, "triangles", self.triangles.int().contiguous())
        put(self, "texels", self.texels.float().contiguous())
        if self.size is None:
            span = (self.vertices.amax(0) - self.vertices.amin(0)).tolist()
            put(self, "size", (span[0], span[1]))
        pyramid = build_pyramid(self.texture[None].float())
        near = NEAR * max(self.width, self.height)
        put(self, "mesh", Mesh(pyramid, self.vertices, self.triangles, self.texels, near))

    @property
    def width(self) -> float:
        """Width of the reference picture [m]."""
        assert self.size is not None
        return self.size[0]

    @property
    def height(self) -> float:
        """Height of the reference picture [m]."""
        assert self.size is not None
        return self.size[1]

    def to(self, device: torch.device) -> "SolidScene":
        """The scene with its tensors on that device."""
        if self.texture.device == device:
            return self
        names = ("texture", "vertices", "triangles", "texels")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def render(
        self,
        camera: Camera,
        T_world_cam: Float[Tensor, "b 4 4"],
        background: Float[Tensor, "b c"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """Pictures of the camera at these poses, in [0, 1].

        background: one colour a picture, in the place of the scene's own. With a background of NaN
        a pixel that the triangles do not fill is NaN.
        """
        return draw(self.mesh, camera, T_world_cam, self._around(background), covered=False)[0]

    def render_covered(
        self,
        camera: Camera,
        T_world_cam: Float[Tensor, "b 4 4"],
        background: Float[Tensor, "b c"] | None = None,
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"]]:
        """`render`, and the share of each pixel that the triangles fill."""
        image, coverage = draw(
            self.mesh, camera, T_world_cam, self._around(background), covered=True
        )
        assert coverage is not None
        return image, coverage

    def _around(self, background: Tensor | None) -> Float[Tensor, "b c"]:
        """The colours where nothing is."""
        if background is not None:
            return background
        return torch.full((1, self.texture.shape[0]), self.background, device=self.texture.device)

    def inverse_depth(
        self, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]
    ) -> Float[Tensor, "b h w"]:
        """1 / Z [1/m] at each pixel's centre; 0 where nothing is."""
        return inverse_depth(self.mesh, camera, T_world_cam)

    def depth(self, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b h w"]:
        """Depth Z [m] at each pixel's centre, to 1e-7 of itself; infinite where nothing is."""
        found = self.inverse_depth(camera, T_world_cam).double()
        return torch.where(found > 0, 1 / found, torch.inf)


def _check(scene: SolidScene) -> None:
    """InputError where a scene's parts are none."""
    texture, vertices, texels = scene.texture, scene.vertices, scene.texels
    triangles = scene.triangles
    if texture.ndim != 3 or min(texture.shape[1:]) < 2:
        raise InputError(
            f"scene: the texture must be (C, H, W), at least 2 x 2, not {tuple(texture.shape)}"
        )
    shapes = (
        vertices.ndim == 2 and vertices.shape[1] == 3,
        triangles.ndim == 2 and triangles.shape[1] == 3 and len(triangles) > 0,
        texels.shape == (*triangles.shape, 2),
    )
    if not all(shapes):
        raise InputError(
            "scene: give vertices (V, 3), triangles (F, 3) and texels (F, 3, 2), not "
            f"{tuple(vertices.shape)}, {tuple(triangles.shape)} and {tuple(texels.shape)}"
        )
    for name in ("texture", "vertices", "texels"):
        if not torch.isfinite(getattr(scene, name)).all():
            raise InputError(f"scene: the {name} hold NaN or infinite values; give finite ones")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise InputError(
            f"scene: triangles name vertices {int(triangles.min())} to {int(triangles.max())}, "
            f"but there are {len(vertices)}; count them from 0"
        )
    size = scene.size or (1.0, 1.0)
    if not (all(0 < x < math.inf for x in size) and all(map(math.isfinite, scene.centre))):
        raise InputError(
            f"scene: a picture of {scene.size} m about {scene.centre} is none; give finite numbers"
        )


def solid_view(
    picture: Float[Tensor, "c h w"],
    depth: Float[Tensor, "h w"],
    camera: Camera,
    distance: float | None = None,
) -> SolidScene:
    """What one RGB-D picture shows: its pixels' points, and triangles between neighbours.

    depth: Z [m], NaN where unknown. distance: from the camera to the world's plane z = 0 [m], the
    median depth when not given: the camera is at (0, 0, -distance) and faces the plane, so that
    rendered there the scene gives the picture back. Four pixels between which a surface would be
    seen more than MAX_SLANT from its normal are on a depth edge and not joined, nor are those of
    unknown depth: nothing is invented behind edges, and the background is NaN.
    Raises InputError where picture, depth and camera are of different sizes, or nothing is known.
    """
    size = (camera.height, camera.width)
    if picture.shape[1:] != size or depth.shape != size:
        raise InputError(
            f"scene: a picture {tuple(picture.shape[1:])} and its depth {tuple(depth.shape)} "
            f"must be of the camera's size {size}"
        )
    Z = depth.double()
    Z = torch.where(torch.isfinite(Z) & (Z > 0), Z, torch.nan)
    if distance is None:
        distance = float(Z[~Z.isnan()].median()) if not Z.isnan().all() else math.nan
    if not 0 < distance < math.inf:
        raise InputError("scene: no depth is known, or the distance is not positive; give metres")
    points, texels = _points(Z, camera)
    triangles = _joined(points, Z)
    if not len(triangles):
        raise InputError("scene: no four neighbours have a depth of one surface; give other depth")
    used, triangles = triangles.unique(return_inverse=True)
    vertices = points.flatten(0, 1)[used]
    vertices[:, 2] -= distance
    x, y = ((size[1] - 1) / 2 - camera.cx) / camera.fx, ((size[0] - 1) / 2 - camera.cy) / camera.fy
    return SolidScene(
        picture,
        vertices,
        triangles,
        texels.flatten(0, 1)[used][triangles],
        background=math.nan,
        size=(distance * size[1] / camera.fx, distance * size[0] / camera.fy),
        centre=(distance * x, distance * y),
    )


def _points(
    Z: Float[Tensor, "h w"], camera: Camera
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 2"]]:
    """The pixels' points in the camera frame [m], and where they are in the picture.

    Those of the outermost pixels are moved to the picture's edge, half a pixel outwards, along the
    surface where the next pixel is known too.
    """
    h, w = Z.shape
    x = torch.arange(w, dtype=torch.float64)
    y = torch.arange(h, dtype=torch.float64)
    for at in (x, y):
        at[0], at[-1] = -0.5, len(at) - 0.5
    inverse = 1 / Z
    for each in (inverse, inverse.mT):  # 1/Z is linear on a plane
        for outer, inner in ((0, 1), (-1, -2)):
            beyond = 1.5 * each[outer] - 0.5 * each[inner]
            close = (beyond / each[outer] - 1).abs() < 0.05
            each[outer] = torch.where(close, beyond, each[outer])
    v, u = torch.meshgrid(y, x, indexing="ij")
    rays = torch.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], -1)
    Z = 1 / inverse
    return torch.cat([rays * Z[..., None], Z[..., None]], -1), torch.stack([u, v], -1).float()


def _joined(points: Float[Tensor, "h w 3"], Z: Float[Tensor, "h w"]) -> Int32[Tensor, "f 3"]:
    """Two triangles between each four neighbours that are of one surface."""
    h, w = Z.shape
    number = torch.arange(h * w).view(h, w)
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]
    flat = points.flatten(0, 1)
    # Cut along the diagonal whose ends differ less in depth.
    jump = [(flat[p][..., 2] - flat[q][..., 2]).abs() for p, q in ((a, d), (b, c))]
    first = torch.where(jump[0] <= jump[1], 1, 0)[..., None].bool()
    halves = [
        torch.where(first, torch.stack(one, -1), torch.stack(other, -1))
        for one, other in (((a, b, d), (a, b, c)), ((a, d, c), (b, d, c)))
    ]
    kept = torch.ones(h - 1, w - 1, dtype=torch.bool)
    for half in halves:
        p = flat[half]
        normal = torch.linalg.cross(p[..., 1, :] - p[..., 0, :], p[..., 2, :] - p[..., 0, :])
        ray = p.mean(-2)
        facing = (normal * ray).sum(-1).abs() / (normal.norm(dim=-1) * ray.norm(dim=-1))
        kept &= facing > math.cos(math.radians(MAX_SLANT))  # False where a depth is NaN
    return torch.stack([half[kept] for half in halves], 1).flatten(0, 1)

"""Textured triangles drawn: which one each sample of a picture shows, and its texture there.

A pixel has 4 x 4 samples, or 2 x 2 of very many triangles, which say how much of it each triangle
fills. The texture is read once for each of a pixel's triangles, at the pixel's centre and at the
level of detail of the whole pixel, as that of a plane is: a surface of many small triangles is as
sharp as a plane. On a CPU the work is done by `solid.c`; `draw_reference` is the same in torch, for
other devices and for the tests.
"""

from collections.abc import Iterator
from ctypes import Structure
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from deepservo import native
from deepservo.camera import Camera
from deepservo.geometry import se3
from deepservo.images.sampler import Pyramid, trilinear

SAMPLES = 4  # of a pixel, along x and along y
# Scenes of so many triangles, as of RGB-D pictures, take too long with more than so few.
MANY, FEWER = 20_000, 2
MARGIN = 1e-10  # samples; triangles reach so much farther: no sample falls between two of them
# Multiples of these, modulo 1, fill [0, 1] evenly, each with the other too.
GOLDEN, PLASTIC = 0.6180339887498949, 0.7548776662466927
SHIFT = 0.5  # samples; of one from the grid, at most
MOST_TRIES = 2_000_000  # triangles times samples that the twin looks at together


class Arguments(Structure):
    """What `draw_solids` of solid.c reads and writes."""

    _fields_ = native.fields(
        "* texture", "i64 stride", "* offsets", "i32 levels padded_w padded_h",
        "* vertices triangles texels", "i64 vertex_count triangle_count", "* poses",
        "f64 fx fy cx cy near", "* right below background out inside inverse_depth",
        "i32 channels h w per", "* failed",
    )  # fmt: skip


@dataclass(frozen=True)
class Mesh:
    """Textured triangles.

    vertices: [m], in the world frame. triangles: numbers of their corners. texels: where each
    corner lies in the pyramid's level 0. near: what is nearer to the camera is not seen [m].
    """

    pyramid: Pyramid
    vertices: Float[Tensor, "v 3"]
    triangles: Int32[Tensor, "f 3"]
    texels: Float[Tensor, "f 3 2"]
    near: float

    @property
    def samples(self) -> int:
        """Samples of a pixel, along x and along y."""
        return SAMPLES if len(self.triangles) < MANY else FEWER


def draw(
    mesh: Mesh,
    camera: Camera,
    T_world_cam: Float[Tensor, "b 4 4"],
    background: Float[Tensor, "b c"],
    covered: bool,
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"] | None]:
    """Pictures of the triangles, and with `covered` the share of each pixel that they fill."""
    if not _in_c(mesh, T_world_cam):
        return draw_reference(mesh, camera, T_world_cam, background)
    B, C = len(T_world_cam), mesh.pyramid.flat.shape[1]
    back = background.float().expand(B, C).contiguous()
    image = torch.empty(B, C, camera.height, camera.width)
    coverage = torch.empty(B, camera.height, camera.width) if covered else None
    _call(
        mesh, camera, T_world_cam,
        background=back.data_ptr(), out=image.data_ptr(),
        inside=None if coverage is None else coverage.data_ptr(),
    )  # fmt: skip
    return image, coverage


def inverse_depth(
    mesh: Mesh, camera: Camera, T_world_cam: Float[Tensor, "b 4 4"]
) -> Float[Tensor, "b h w"]:
    """1/Z [1/m] at each pixel's centre, float32; 0 where nothing is."""
    if not _in_c(mesh, T_world_cam):
        return torch.stack([nearest(mesh, camera, T, 1)[0] for T in T_world_cam])
    found = torch.empty(len(T_world_cam), camera.height, camera.width)
    _call(mesh, camera, T_world_cam, inverse_depth=found.data_ptr())
    return found


def _in_c(mesh: Mesh, T_world_cam: Tensor) -> bool:
    """Whether C draws."""
    devices = mesh.vertices.device.type, T_world_cam.device.type
    return devices == ("cpu", "cpu") and native.library() is not None


def _call(mesh: Mesh, camera: Camera, T_world_cam: Tensor, **pointers: int | None) -> None:
    """Draw in C."""
    lib = native.library()
    assert lib is not None
    poses = se3.inverse(T_world_cam.double())[:, :3].contiguous()
    failed = torch.zeros(1, dtype=torch.int32)
    per = mesh.samples if "out" in pointers else 1
    right, below = _shifts(camera, per)
    flat, pyramid = mesh.pyramid.flat, mesh.pyramid
    arguments = Arguments(
        texture=flat.data_ptr(), stride=flat.shape[2], offsets=pyramid.offsets.data_ptr(),
        levels=pyramid.levels, padded_w=pyramid.padded[1], padded_h=pyramid.padded[0],
        vertices=mesh.vertices.data_ptr(), triangles=mesh.triangles.data_ptr(),
        texels=mesh.texels.data_ptr(), vertex_count=len(mesh.vertices),
        triangle_count=len(mesh.triangles), poses=poses.data_ptr(), fx=camera.fx, fy=camera.fy,
        cx=camera.cx, cy=camera.cy, near=mesh.near, right=right.data_ptr(),
        below=below.data_ptr(), channels=flat.shape[1], h=camera.height, w=camera.width,
        per=per, failed=failed.data_ptr(), **pointers,
    )  # fmt: skip
    native.run(lib.draw_solids, arguments, len(poses))
    if failed.item():
        raise MemoryError(f"{len(mesh.triangles)} triangles cannot be drawn")


def _shifts(camera: Camera, per: int) -> tuple[Float[Tensor, " down"], Float[Tensor, " across"]]:
    """How far [samples] each row of samples lies to the right of a grid, and each column below.

    On a grid all samples along an edge that is parallel to it would change together, and a picture
    would not show motions of less than the grid. With one sample a pixel there is no shift.
    """
    rows, columns = (torch.arange(per * n).double() for n in (camera.height, camera.width))
    if per == 1:
        return 0 * rows, 0 * columns
    return (GOLDEN * (rows + 0.5)) % 1 - SHIFT, (PLASTIC * (columns + 0.5)) % 1 - SHIFT


def draw_reference(
    mesh: Mesh,
    camera: Camera,
    T_world_cam: Float[Tensor, "b 4 4"],
    background: Float[Tensor, "b c"],
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b h w"]]:
    """`draw` with the share, in plain torch, on any device."""
    back = background.float().expand(len(T_world_cam), mesh.pyramid.flat.shape[1])
    drawn = [
        _draw_one(mesh, camera, T, colour) for T, colour in zip(T_world_cam, back, strict=True)
    ]
    return torch.stack([image for image, _ in drawn]), torch.stack([share for _, share in drawn])


def _draw_one(
    mesh: Mesh, camera: Camera, T_world_cam: Float[Tensor, "4 4"], background: Float[Tensor, " c"]
) -> tuple[Float[Tensor, "c h w"], Float[Tensor, "h w"]]:
    """One picture, and its share."""
    per = mesh.samples
    shown = nearest(mesh, camera, T_world_cam, per)[1]
    samples = torch.stack([shown[i::per, k::per] for i in range(per) for k in range(per)])
    right, below = (each.to(shown.device) for each in _shifts(camera, per))
    offset = torch.stack(torch.broadcast_tensors(right[:, None], below[None]), -1)
    offsets = torch.stack(
        [
            (torch.tensor([k, i]).to(offset) + 0.5 + offset[i::per, k::per]) / per - 0.5
            for i in range(per)
            for k in range(per)
        ]
    )
    forms, dets = _homographies(mesh, camera, T_world_cam)
    image = torch.zeros(len(background), camera.height, camera.width, device=shown.device)
    for own in samples:
        first = (samples == own).int().argmax(0)  # of the samples that show the same triangle
        aside = offsets.gather(0, first[None, ..., None].expand(1, *first.shape, 2))[0]
        seen = _texture(mesh, (forms, dets), own.clamp(min=0), aside)
        image += torch.where(own < 0, background[:, None, None], seen) / len(samples)
    return image, (samples >= 0).float().mean(0)


def _texture(
    mesh: Mesh,
    homographies: tuple[Tensor, Tensor],
    face: Int64[Tensor, "h w"],
    aside: Float[Tensor, "h w 2"],
) -> Float[Tensor, "c h w"]:
    """The texture of each pixel's triangle. aside: from its centre to a sample in it [px]."""
    forms, dets = homographies[0][face], homographies[1][face]
    y, x = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64, device=face.device) for n in face.shape),
        indexing="ij",
    )
    pixel = torch.stack([x, y, torch.ones_like(x)], -1)
    aside = torch.cat([aside, torch.zeros_like(pixel[..., :1])], -1)
    at_centre, within = ((forms @ p[..., None])[..., 0] for p in (pixel, pixel + aside))
    # A triangle may be seen so edge-on that its plane is far at the pixel's centre.
    edge_on = at_centre[..., 2:] < 0.5 * within[..., 2:]
    uvw = torch.where(edge_on, within, at_centre)
    w = uvw[..., 2].clamp(min=1e-12)  # positive where the triangle is
    area = dets.clamp(min=1e-30) / w**3  # texels a pixel
    # The pixel's centre may be beside the triangle, but hardly farther than the pixel is wide.
    room = area.clamp(min=1).sqrt()[..., None]
    corners = mesh.texels.double()[face]
    uv = (uvw[..., :2] / w[..., None]).clamp(corners.amin(-2) - room, corners.amax(-2) + room)
    lod = (0.5 * torch.log2(area)).clamp(0, mesh.pyramid.levels - 1).float()
    u, v = uv.float().unbind(-1)
    return trilinear(mesh.pyramid, lod[None], u[None], v[None])[0]


def _rays(mesh: Mesh, camera: Camera, T_world_cam: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each triangle the corners (f, 3, 3) in the camera frame, twice the volume between it and
    the camera, and the forms (f, 3, 3) that are each corner's weight over Z at a pixel (x, y, 1).
    """
    T = se3.inverse(T_world_cam.double()[None])[0]
    at = (mesh.vertices @ T[:3, :3].mT + T[:3, 3])[mesh.triangles.long()]
    across = torch.stack(
        [torch.linalg.cross(at[:, (i + 1) % 3], at[:, (i + 2) % 3]) for i in range(3)], 1
    )
    volume = (at[:, 0] * across[:, 0]).sum(-1)
    flat = volume == 0  # seen edge-on
    forms = across / torch.where(flat, torch.inf, volume)[:, None, None]
    return at, volume, forms @ camera.K_inv.to(forms.device)


def _homographies(
    mesh: Mesh, camera: Camera, T_world_cam: Tensor
) -> tuple[Float[Tensor, "f 3 3"], Float[Tensor, " f"]]:
    """From pixels to texels, with 1/Z as third coordinate, and their determinants' sizes."""
    forms = _rays(mesh, camera, T_world_cam)[2]
    texels = torch.cat([mesh.texels.double(), torch.ones_like(mesh.texels[..., :1])], -1)
    homographies = texels.mT @ forms
    return homographies, torch.linalg.det(homographies).abs()


def nearest(
    mesh: Mesh, camera: Camera, T_world_cam: Float[Tensor, "4 4"], per: int
) -> tuple[Float[Tensor, "sh sw"], Int64[Tensor, "sh sw"]]:
    """1/Z at `per` x `per` samples of each pixel, 0 where nothing is, and the triangle, or -1."""
    fine = camera.resize(camera.width * per, camera.height * per)
    at, volume, forms = _rays(mesh, fine, T_world_cam)
    w, h = fine.width, fine.height
    right, below = (each.to(at.device) for each in _shifts(camera, per))
    number = len(mesh.triangles)
    inverse = torch.zeros(h * w, device=at.device)
    shown = torch.full((h * w,), number, dtype=torch.int64, device=at.device)
    for face, x, y in _tries(fine, at, volume, mesh.near):
        pixel = torch.stack([x + right[y], y + below[x], torch.ones_like(right[y])], -1)
        weights = torch.einsum("fij,fsj->fsi", forms[face], pixel)
        slack = MARGIN * forms[face][:, None, :, :2].abs().sum(-1)
        near = weights.sum(-1)
        seen = ((weights >= -slack).all(-1) & (near > 0) & (near <= 1 / mesh.near)).flatten()
        index, found = (y * w + x).flatten()[seen], near.float().flatten()[seen]
        owner = face[:, None].expand_as(x).flatten()[seen]
        before = inverse.clone()
        inverse.scatter_reduce_(0, index, found, "amax")
        shown[inverse > before] = number
        best = found == inverse[index]
        shown.scatter_reduce_(0, index[best], owner[best], "amin")
    return inverse.view(h, w), torch.where(shown == number, -1, shown).view(h, w)


def _tries(
    camera: Camera, at: Float[Tensor, "f 3 3"], volume: Tensor, near: float
) -> Iterator[tuple[Int64[Tensor, " n"], Int64[Tensor, "n s"], Int64[Tensor, "n s"]]]:
    """Triangles of about one size, and the samples x and y that each may show."""
    size = torch.tensor([camera.width, camera.height], device=at.device)
    px = camera.project(at)
    cut = (at[..., 2] < near).any(-1)  # anywhere, where the near plane cuts it
    low = torch.where(cut[:, None], 0, (px.amin(1) - SHIFT).ceil().clamp(min=0)).long()
    high = torch.where(
        cut[:, None], size - 1, torch.minimum((px.amax(1) + SHIFT).floor(), size - 1.0)
    ).long()
    count = high - low + 1
    drawn = (count > 0).all(-1) & (volume != 0) & (at[..., 2] >= near).any(-1)
    widths = 2 ** torch.log2(count.clamp(min=1).double()).ceil().long()
    for wide, tall in widths[drawn].unique(dim=0).tolist():
        of_size = drawn & (widths == torch.tensor([wide, tall], device=at.device)).all(-1)
        step = torch.arange(wide * tall, device=at.device)
        for face in of_size.nonzero()[:, 0].split(max(1, MOST_TRIES // (wide * tall))):
            x = (low[face, :1] + step % wide).minimum(high[face, :1])
            y = (low[face, 1:] + step // wide).minimum(high[face, 1:])
            yield face, x, y

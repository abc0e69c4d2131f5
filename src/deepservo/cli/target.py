"""`deepservo target`: render a goal from a mesh."""

from dataclasses import dataclass
from pathlib import Path

from deepservo.cli.options import OptionalText


@dataclass(frozen=True, kw_only=True)
class Target:
    """Render a goal from a mesh, as the camera would see the object: goal.png, depth.npy [m],
    mask.png, camera.yaml and pose.npz.
    """

    #: An OBJ, STL or PLY file, textured or not.
    mesh: Path
    #: An .npz file with T_object_cam, (4, 4): the camera in the object's frame, metres, z forward.
    pose: Path
    #: Camera file (OpenCV or ROS YAML).
    camera: Path
    #: Folder for the five files.
    out: Path
    #: Of the mesh's numbers: m or mm; metres when not given.
    unit: OptionalText = None

    def run(self) -> None:
        """Render and write."""
        from deepservo.cli.console import console
        from deepservo.evaluation.poses import read_object_pose
        from deepservo.images.camera_file import read_camera
        from deepservo.worlds.meshes import read_mesh
        from deepservo.worlds.target import FILES, render_target

        # The picture of a lens without distortion, to which `servo` rectifies the camera's own.
        camera = read_camera(self.camera).camera
        mesh, T_object_cam = read_mesh(self.mesh, self.unit), read_object_pose(self.pose)
        target = render_target(mesh, camera, T_object_cam)
        target.write(self.out, camera, T_object_cam)
        near, far = target.depth[target.mask].min(), target.depth[target.mask].max()
        console.print(
            f"{self.out}: {', '.join(FILES)}; the object is {mesh.size:.3g} m across, {near:.3f} "
            f"to {far:.3f} m away, and fills {100 * target.mask.mean():.0f} % of the picture"
        )

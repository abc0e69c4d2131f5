"""The text of a camera file: its encoding, YAML, JSON or OpenCV's XML.

Files of other programs are recognised, and refused by name.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from deepservo.errors import InputError

# Bytes of a file: enough for a camera with the corners that OpenCV's sample writes beside it, and
# parsed in a few seconds.
MAX_BYTES = 150_000
MAX_DEPTH = 50  # of nested fields
FORM = "give a camera file as OpenCV or ROS writes it"
BY_HAND = (
    "write the camera's image_width, image_height, camera_matrix and "
    "distortion_coefficients into a YAML file as OpenCV has them"
)
PYTHON_TAG = "tag:yaml.org,2002:python/"  # of Python's objects, which are never built
TAG_ERRORS = (AttributeError, LookupError, TypeError)  # of PyYAML, for `!!bool maybe` and the like

# Patterns of a line, and of a field at the top, by which files of other programs are recognised.
FOREIGN_LINES = (
    (
        r"# Camera list with one line of data per camera|^\d+ "
        r"[A-Z]*_?(PINHOLE|RADIAL|OPENCV|PRISM|FOV)\w* \d+ \d+ ",
        "COLMAP's cameras.txt",
    ),
    (r"^(fc|cc|kc|alpha_c) *= *\[", "a result of the MATLAB calibration toolbox"),
    (r"^\[(LEFT|RIGHT)_CAM_\w+\] *$", "a ZED camera's settings file"),
    (r"^camera matrix *$", "ROS's .ini form"),
    (r"\A\s*([#;].*\n\s*)*\[[\w ./-]+\] *$", "an .ini file"),
)
FOREIGN_FIELDS = (
    (r"cam\d+", "a camchain of kalibr"),
    (r"intrinsics", "a camera of kalibr or EuRoC"),
    (r"model_type|projection_parameters", "a camera of VINS-Fusion or camodocal"),
    (r"Camera\d?(\.\w+)?", "a settings file of ORB-SLAM or stella_vslam"),
    (r"value0", "a calibration of basalt"),
    (r"fl_x|camera_angle_x", "a NeRF's transforms.json"),
    (r"intrinsic_matrix", "a camera of Open3D"),
    (r"ppx", "a RealSense camera"),
    (r"M1|cameraMatrix1|camera_matrix_1", "a pair of cameras"),
)


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of a camera file, values unchanged.

    Nothing in the file is executed. Raises InputError where it is missing, too large, no text, or
    of another form.
    """
    text = _text(path)
    if text.lstrip().startswith("<"):
        return _xml(text, path)
    for pattern, what in FOREIGN_LINES:
        if re.search(pattern, text, re.MULTILINE):
            raise _foreign(path, what)
    return _yaml(text, path)


def check_origin(fields: Mapping[str, Any], path: Path) -> None:
    """InputError, with the program's name, where the fields are those of another program."""
    for pattern, what in FOREIGN_FIELDS:
        if any(re.fullmatch(pattern, name) for name in fields):
            raise _foreign(path, what)


def _foreign(path: Path, what: str) -> InputError:
    return InputError(f"{path}: is {what}, which is not read; {BY_HAND}")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {FORM} (YAML)") from None
    except OSError:
        raise InputError(f"{path}: cannot be read; {FORM} (YAML)") from None
    if len(data) > MAX_BYTES:
        raise InputError(
            f"{path}: is larger than {MAX_BYTES // 1000} kB; leave only the size, the camera "
            "matrix and the distortion in it"
        )
    try:
        return data.decode(_encoding(data))
    except UnicodeDecodeError:
        raise InputError(f"{path}: cannot be read as text; {FORM} (YAML)") from None


def _encoding(data: bytes) -> str:
    """The text's encoding, by its byte order mark or its zeros; cp1252 for what is not UTF-8."""
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in data[:2]:
        return "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        data.decode()
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


class _Loader(yaml.SafeLoader):
    """Loads plain values: unknown tags are ignored, and no mapping is merged into another."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"fields within fields, over {MAX_DEPTH} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Do nothing: with `<<` a short file can expand without end."""

    def plain(self, _suffix: str, node: yaml.Node) -> Any:
        """The value without its tag."""
        if isinstance(node, yaml.MappingNode):
            return self.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return self.construct_sequence(node, deep=True)
        assert isinstance(node, yaml.ScalarNode)
        return self.construct_scalar(node)


_Loader.add_multi_constructor("", _Loader.plain)


def _yaml(text: str, path: Path) -> dict[str, Any]:
    """Fields of YAML, or of JSON, which is YAML once its tabs are spaces."""
    # OpenCV's own %YAML directive is no valid one.
    lines = [line.expandtabs() for line in text.splitlines() if not line.startswith("%YAML")]
    try:
        loader = _Loader("\n".join(lines))
        # The first document: `ros2 topic echo` prints one a message.
        node = loader.get_node() if loader.check_node() else None
        if node is not None and node.tag.startswith(PYTHON_TAG):
            raise yaml.YAMLError(f"it is {node.tag.removeprefix(PYTHON_TAG)}")
        data = None if node is None else loader.construct_document(node)
    except TAG_ERRORS:
        raise InputError(
            f"{path}: is not YAML (a tag says of a value what it is not); {FORM}"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not YAML ({str(error).splitlines()[0]}); {FORM}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: holds no fields; {FORM} (YAML)")
    return {str(name): value for name, value in data.items()}


def _xml(text: str, path: Path) -> dict[str, Any]:
    """Fields of OpenCV's XML; InputError for another program's."""
    try:
        if "<!ENTITY" in text:
            raise ElementTree.ParseError("it defines entities")
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError, LookupError) as error:
        raise InputError(f"{path}: is not XML ({error}); {FORM}") from None
    if root.tag != "opencv_storage":
        raise _foreign(
            path,
            "a camera of ViSP"
            if root.find(".//px") is not None
            else f"XML of another program (<{root.tag[:40]}>)",
        )
    return {field.tag: _value(field) for field in root}


def _value(field: ElementTree.Element) -> Any:
    """A field's text without quotes, or its parts by name."""
    if len(field):
        return {part.tag: (part.text or "").strip() for part in field}
    return (field.text or "").strip().strip('"')

"""Pictures and clips: files in, uint8 tensors out, and back.

    read_picture("face.jpg")                 →  uint8 (3, H, W), RGB
    Clip("clip/").read([0, 8, 15], size=96)  →  uint8 (3, 3, 96, 96)

A clip is a folder of frames, an animation (GIF, APNG, WebP), a still picture, or a video file if the program
`ffmpeg` is there. Whatever cannot be read is refused with a PictureError: which file, what is wrong, what to do.
"""
import os
import re
import shutil
import struct
import subprocess
import tempfile
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".webm")
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")                     # nothing that starts a program
MOVING = ("GIF", "PNG", "WEBP")                       # the second picture of an MPO or a TIFF is not a second frame
ANIMATIONS = {".gif": {}, ".png": {}, ".webp": {"quality": 90}, "": {}}
SAVES = {".png": ("PNG", {}), ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
         ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0})}
Image.init()                                          # else Pillow knows only half of FORMATS by name
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)


class PictureError(ValueError):
    """A picture or clip that cannot be read or written: "path: what is wrong; what to do"."""


def read_picture(path: str | Path) -> Tensor:
    """Read one picture whole, the way a viewer shows it.

    →   (3, H, W)   uint8, RGB

    The camera's rotation (EXIF) is applied; what is transparent shows white; 16-bit grey is divided by 257, so that
    65535 becomes 255. The content decides, not the suffix: a GIF named .jpg is read, and gives its first frame.
    Raises PictureError for a missing, empty, cut or foreign file, a folder, and a picture above 89 million pixels.
    """
    with _opened(path) as image:
        return _tensor(_rgb(image, path))


def fit(picture: Tensor, size: int) -> Tensor:
    """Cut out the centre square and resize it, with antialiasing.

    picture   (3, H, W)         uint8
    →         (3, size, size)   uint8
    """
    return _tensor(_square(_image(picture), size))


def write_picture(picture: Tensor | Image.Image, path: str | Path) -> None:
    """Write a .png or .jpg, whole or not at all.

    picture   (3, H, W) or (H, W)   uint8, or float in [0, 1]; what lies a little outside is clipped
    """
    path = named(path, "pictures", SAVES)
    image = picture if isinstance(picture, Image.Image) else _image(picture)
    kind, options = SAVES[path.suffix.lower()]
    with _replacing(path) as part:
        image.save(part, kind, **options)


def named(path: str | Path, what: str, suffixes: Iterable[str]) -> Path:
    """A path to write to, refused by PictureError where its suffix is none of these; to be asked before long work, too."""
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise PictureError(f"{path}: {what} are written as {' or '.join(s or 'a folder' for s in suffixes)}; "
                           f"got the suffix {path.suffix!r}")
    if path.suffix == "" and _is(path, Path.is_dir) and _listed(path):
        raise PictureError(f"{path}: already holds pictures; choose a new folder, or empty this one")
    return path


def write_animation(video: Tensor, path: str | Path, fps: float) -> None:
    """Write a .gif, .png (animated), .webp, or, if the path has no suffix, a folder of frames 00001.png, 00002.png, ...

    video   (T, 3, H, W)   uint8

    GIF has 256 colours a frame, and a frame lasts whole hundredths of a second, two at least, as viewers slow down shorter
    ones; .png and a folder keep every value. Neighbouring frames that are equal are stored once, for longer; only the folder
    always keeps T files.
    """
    path = named(path, "animations", ANIMATIONS)
    if video.dim() != 4 or len(video) == 0:
        raise ValueError(f"an animation is (T, 3, H, W) with T ≥ 1; got {tuple(video.shape)}")
    if not .01 <= fps < float("inf"):
        raise ValueError(f"fps must be .01 or more; got {fps}")
    if path.suffix == "":
        for t, frame in enumerate(video, start=1):
            write_picture(frame, path / f"{t:05d}.png")
        return
    kind = path.suffix[1:].upper()
    duration = max(20, 10 * round(100 / fps)) if kind == "GIF" else max(1, round(1000 / fps))           # milliseconds
    first, *rest = [_image(frame) for frame in video]
    with _replacing(path) as part:
        first.save(part, kind, save_all=True, append_images=rest, duration=duration, loop=0, **ANIMATIONS[path.suffix.lower()])


def write_flow(flow: Tensor, path: str | Path) -> None:
    """Write an optical flow in the Middlebury format, .flo: whole or not at all.

    flow   (2, H, W)   (dx, dy) in pixels; what is not known, not finite, is written as 1e10

    The file: the float32 202021.25, whose bytes spell PIEH, the width and the height as int32, then dx, dy of each pixel in
    reading order as float32, all little-endian.
    """
    path = named(path, "flows", (".flo",))
    if flow.dim() != 3 or len(flow) != 2 or flow.numel() == 0:
        raise ValueError(f"a flow is (2, H, W); got {tuple(flow.shape)}")
    flow = flow.detach().cpu().float().nan_to_num(1e10, 1e10, 1e10).movedim(0, -1).contiguous()          # (H, W, 2)
    with _replacing(path) as part:
        part.write_bytes(b"PIEH" + struct.pack("<ii", flow.shape[1], flow.shape[0]) + flow.numpy().astype("<f4").tobytes())


def read_flow(path: str | Path) -> Tensor:
    """Read a Middlebury .flo file.

    →   (2, H, W)   float32, (dx, dy) in pixels; NaN where it says "unknown", a component beyond 1e9

    Raises PictureError for a missing or foreign file, and one whose length is not what its head says.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise PictureError(f"{path}: cannot be read ({e.strerror or e}); check the spelling and the working folder") from e
    if data[:4] != b"PIEH":
        raise PictureError(f"{path}: not a .flo file; it begins with {data[:4]!r}, expected b'PIEH'")
    width, height = struct.unpack("<ii", data[4:12]) if len(data) >= 12 else (0, 0)
    if width < 1 or height < 1 or len(data) != 12 + 8 * width * height:
        raise PictureError(f"{path}: damaged or cut short; its head says {width} × {height} pixels, so 12 bytes and 8 a pixel, "
                           f"and it has {len(data)}; copy or download it again")
    flow = torch.from_numpy(np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32))
    return torch.where((~(flow.abs() <= 1e9)).any(-1, keepdim=True), float("nan"), flow).movedim(-1, 0).contiguous()


class Clip:
    """Frames in order, read when asked for. Holds no open file, so it travels to DataLoader workers.

    path   a folder of frames (img2 before img10), an animation, a picture (one frame), a video, or a list of pictures

    A folder reads only the frames asked for; an animation is decoded up to the last one; a video needs `ffmpeg`, which
    counts its frames by decoding it once, at the first len() or read().
    Raises PictureError where there is nothing to read, and for a video where `ffmpeg` is missing.
    """

    def __init__(self, path: str | Path | Iterable[str | Path]):
        self.frames: list[Path] = []                               # one file a frame; else empty, and path is the file
        self._count = 0                                            # frames inside path, 0 until counted
        if not isinstance(path, str | Path):
            self.frames = [Path(p) for p in path]
            if not self.frames:
                raise PictureError("a clip from a list of pictures needs at least one; got an empty list")
            self.path = self.frames[0].parent
            return
        if str(path) == "":
            raise PictureError("the name of the clip is empty; give a folder, an animation or a video")
        self.path = Path(path)
        if _is(self.path, Path.is_dir):
            self.frames = _listed(self.path)
            if not self.frames:
                raise PictureError(f"{self.path}: no picture in this folder; expected files ending in {' '.join(PICTURES)}")
        elif not self.path.exists():
            raise PictureError(f"{self.path}: does not exist; check the spelling and the working folder")
        elif self.path.suffix.lower() in VIDEOS:
            _ffmpeg(self.path)

    def __repr__(self) -> str:
        return f"Clip({str(self.path)!r})"

    def __len__(self) -> int:
        if self.frames:
            return len(self.frames)
        if not self._count:
            if self.path.suffix.lower() in VIDEOS:
                self._count = _video_length(self.path)
            else:
                with _opened(self.path) as image:
                    self._count = image.n_frames if image.format in MOVING else 1
        return self._count

    def read(self, indices: Iterable[int], size: int | None = None) -> Tensor:
        """Read the frames asked for, in the order asked; one asked for twice is decoded once.

        indices   counted from 0
        size      the side of the centre square that each frame is cut and resized to; None keeps the frames as they are
        →         (n, 3, H, W), or (n, 3, size, size)   uint8

        Raises PictureError for a frame that is not there, and, without size, for frames of differing sizes.
        """
        indices = [int(t) for t in indices]
        for t in indices:
            if not 0 <= t < len(self):
                raise PictureError(f"{self.path}: frame {t} asked for, counted from 0; it has {len(self)} frames")
        if not indices:
            raise ValueError(f"{self.path}: no frame asked for; indices must hold at least one")
        got: dict[int, Tensor] = {}
        first = indices[0]
        for t, image in self._decoded(sorted(set(indices))):
            got[t] = _tensor(image if size is None else _square(image, size))                      # (3, H, W)
        for t, frame in got.items():
            if frame.shape != got[first].shape:
                a, b = self.name(first), self.name(t)
                raise PictureError(f"{self.path}: {a} is {_size(got[first])} and {b} is {_size(frame)}; "
                                   f"crop the frames alike, or read them at one size")
        return torch.stack([got[t] for t in indices])                                              # (n, 3, H, W)

    def fps(self) -> float | None:
        """Frames a second, as an animation tells it; None for a folder, a picture and a video.

        Raises PictureError where the frames of an animation do not last equally long.
        """
        if self.frames or self.path.suffix.lower() in VIDEOS or len(self) < 2:
            return None
        lasts = []                                                 # milliseconds
        with _opened(self.path) as image:
            for t in range(len(self)):
                image.seek(t)
                image.load()                                       # WebP tells it no sooner
                lasts.append(float(image.info.get("duration", 0)))
        if max(lasts) > min(lasts):
            raise PictureError(f"{self.path}: its frames last {min(lasts):g} to {max(lasts):g} ms; give their rate, or frames that "
                               f"last equally long")
        return 1000 / lasts[0] if lasts[0] > 0 else None

    def name(self, t: int) -> str:
        """What to call frame t in a message or a table: its file's name, or its number from 0."""
        return self.frames[t].name if self.frames else f"frame {t}"

    def _decoded(self, indices: list[int]) -> Iterator[tuple[int, Image.Image]]:
        """Each frame asked for as an RGB picture; indices ascend."""
        if self.frames:
            for t in indices:
                with _opened(self.frames[t]) as image:
                    yield t, _rgb(image, self.frames[t])
        elif self.path.suffix.lower() in VIDEOS:
            yield from zip(indices, _video_frames(self.path, indices), strict=True)
        else:
            with _opened(self.path) as image:
                for t in indices:
                    if t > 0:
                        image.seek(t)
                    yield t, _rgb(image, self.path)


# From Pillow to tensors and back

@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture; every way in which it can fail, there or while it is decoded, ends as a PictureError."""
    path = Path(path)
    if _is(path, Path.is_dir):
        raise PictureError(f"{path}: is a folder; give a picture, or read it as a clip")
    if not path.exists():
        raise PictureError(f"{path}: does not exist; check the spelling and the working folder")
    if path.stat().st_size == 0:
        raise PictureError(f"{path}: is empty (0 bytes); copy or download it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path, formats=FORMATS)
        with image:
            yield image
    except PictureError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as e:
        raise PictureError(f"{path}: more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller first") from e
    except PermissionError as e:
        raise PictureError(f"{path}: may not be read; check the rights of the file") from e
    except UnidentifiedImageError as e:
        with path.open("rb") as file:
            head = file.read(12)
        raise PictureError(f"{path}: not a picture in a format read here ({', '.join(FORMATS)}), it begins with {head!r}; "
                           f"save it as PNG or JPEG") from e
    except BROKEN as e:
        raise PictureError(f"{path}: damaged or cut short ({str(e) or type(e).__name__}); "
                           f"copy or download it again") from e


def _rgb(image: Image.Image, path: str | Path) -> Image.Image:
    """Decode whole, then the camera's rotation, 16-bit grey to 8, what is transparent over white."""
    image.load()                                                   # open() and verify() let a cut JPEG pass
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):                                 # I;16, I;16B, and I, as which 16-bit PGM comes
        grey = np.asarray(image).astype(np.int64)                  # (H, W)
        if grey.min() < 0 or grey.max() > 65535:
            raise PictureError(f"{path}: grey values from {grey.min()} to {grey.max()}, expected 16 bits (0 to 65535); "
                               f"save it with 8 or 16 bits a value")
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise PictureError(f"{path}: floating-point pixels, whose range is not known; save it with 8 or 16 bits a value")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _square(image: Image.Image, size: int) -> Image.Image:
    """The centre square, cut out first so that nothing beside it shines in; Pillow's filter widens as it shrinks."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)


def _tensor(image: Image.Image) -> Tensor:
    """An RGB picture as uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).movedim(-1, 0).contiguous()


def _image(picture: Tensor) -> Image.Image:
    """A tensor as an RGB picture: uint8, or float in [0, 1]; (3, H, W) or (H, W)."""
    if picture.dim() == 2:
        picture = picture.expand(3, -1, -1)                                                        # (3, H, W)
    if picture.dim() != 3 or len(picture) != 3 or picture.numel() == 0:
        raise ValueError(f"a picture is (3, H, W) or (H, W); got {tuple(picture.shape)}")
    picture = picture.detach().cpu()
    if picture.is_floating_point():
        picture = picture.float()
        if not (picture.abs() < 10).all():
            raise ValueError(f"a float picture lies in [0, 1]; got values from {picture.min():g} to {picture.max():g}: "
                             f"divide by 255, or look for what is not finite")
        picture = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    if picture.dtype != torch.uint8:
        raise ValueError(f"a picture is uint8, or float in [0, 1]; got {picture.dtype}")
    return Image.fromarray(picture.movedim(0, -1).contiguous().numpy())                            # (H, W, 3)


def _size(frame: Tensor) -> str:
    return f"{frame.shape[-1]} × {frame.shape[-2]}"


# Files

def _is(path: Path, kind) -> bool:
    """Path.is_dir and the like; a path that no system takes is refused."""
    try:
        return kind(path)
    except (OSError, ValueError) as e:
        raise PictureError(f"{str(path)[:60]!r}...: not a path that can be looked up "
                           f"({getattr(e, 'strerror', None) or e}); check its spelling") from e


def _listed(folder: Path) -> list[Path]:
    """The pictures of a folder, numbers in their names compared as numbers."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".") and p.is_file()]
    return sorted(found, key=lambda p: ([int(s) if s.isdecimal() else s for s in re.split(r"([0-9]+)", p.name)], p.name))


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a neighbouring name to write to; put it in place when all went well, take it away when not."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as e:
        raise PictureError(f"{path}: cannot be written ({e.strerror or e}); check the folder, its rights and free space") from e


# Videos, through the program `ffmpeg`

def _ffmpeg(path: Path) -> list[str]:
    """The beginning of a command that reads a video: local files only, errors only."""
    program = shutil.which("ffmpeg")
    if program is None:
        frames = path.with_suffix("")
        raise PictureError(f'{path}: a video needs the program ffmpeg, which is not on the PATH; install it, or make frames '
                           f'elsewhere:  mkdir "{frames}" && ffmpeg -i "{path}" "{frames}/%05d.png"')
    return [program, "-v", "error", "-nostdin", "-protocol_whitelist", "file,pipe", "-i", f"file:{path.resolve()}", "-map", "0:v:0"]


def _video_length(path: Path) -> int:
    """Count by decoding, as containers do not keep the number, or keep a wrong one."""
    command = [*_ffmpeg(path), "-f", "null", "-progress", "pipe:1", "-"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    counts = re.findall(r"^frame=\s*(\d+)", done.stdout, re.M)
    if done.returncode != 0 or not counts or int(counts[-1]) == 0:
        raise PictureError(f"{path}: ffmpeg finds no frame in it ({_last_line(done.stderr)}); check that it plays")
    return int(counts[-1])


def _video_frames(path: Path, indices: list[int]) -> Iterator[Image.Image]:
    """Decode up to the last index and hand over the frames asked for, as PPM pictures through a pipe."""
    asked = set(indices)
    starts = [t for t in indices if t - 1 not in asked]
    ends = [t for t in indices if t + 1 not in asked]
    wanted = "+".join(f"between(n,{a},{b})" for a, b in zip(starts, ends, strict=True))
    command = [*_ffmpeg(path), "-vf", f"select='{wanted}',settb=1/25,setpts=N,fps=25",        # else it repeats frames
               "-frames:v", str(len(indices)), "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    with tempfile.TemporaryFile() as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:
        try:
            for t in indices:
                header = [process.stdout.readline() for _ in range(3)]             # P6, width height, 255
                width, height = map(int, header[1].split()) if header[0] == b"P6\n" else (0, 0)
                pixels = process.stdout.read(3 * width * height)
                if not pixels or len(pixels) < 3 * width * height:
                    errors.seek(0)
                    said = _last_line(errors.read().decode(errors="replace"))
                    raise PictureError(f"{path}: frame {t} cannot be decoded ({said}); check that it plays")
                yield Image.frombytes("RGB", (width, height), pixels)
        finally:
            process.kill()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]

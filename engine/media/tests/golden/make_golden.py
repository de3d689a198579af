"""Makes the fixtures and golden files of twn-media's parity tests.

Needs pillow, numpy, torch, torchvision, transformers (5.23) and pypdfium2:
    python engine/media/tests/golden/make_golden.py
"""

import hashlib
import io
import json
import pathlib
import random

import numpy as np
import pypdfium2
import torch
from PIL import Image, ImageOps
from transformers.image_transforms import convert_to_rgb
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)
from transformers.models.qwen3_vl import video_processing_qwen3_vl as qwen3_video
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.video_utils import VideoMetadata

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
CLIP = dict(
    image_mean=[0.48145466, 0.4578275, 0.40821073],
    image_std=[0.26862954, 0.26130258, 0.27577711],
)
SPECS = {
    "qwen3": dict(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                  size=dict(shortest_edge=65536, longest_edge=16777216)),
    "qwen2": dict(patch_size=14, size=dict(shortest_edge=3136, longest_edge=12845056), **CLIP),
    # Bounds that make small pictures shrink and grow.
    "small": dict(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                  size=dict(shortest_edge=4096, longest_edge=16384)),
}


def pattern(width, height, seed):
    """Edges, slopes and noise, from integer arithmetic that the test repeats."""
    x = np.arange(width, dtype=np.int64)[None, :, None]
    y = np.arange(height, dtype=np.int64)[:, None, None]
    c = np.arange(3, dtype=np.int64)[None, None, :]
    slope = x * 3 + y * 2 + c * 40
    noise = ((x * 7919 + y * 104729 + c * 1299709 + seed * 15485863) % 1009) % 97
    edge = ((x // 11 + y // 7) % 2) * 90
    return ((slope + noise + edge) % 256).astype(np.uint8)


def summary(values, mean, std):
    """Digest of the levels behind normalised values, and some of the values."""
    values = np.asarray(values, dtype=np.float64)
    rows = values.reshape(len(values), 3, -1)
    levels = rows * np.array(std)[None, :, None] + np.array(mean)[None, :, None]
    levels = np.round(levels * 255).clip(0, 255).astype(np.uint8)
    flat = values.reshape(-1)
    picks = np.linspace(0, flat.size - 1, 50).astype(int)
    return dict(levels=hashlib.sha256(levels.tobytes()).hexdigest(),
                at=picks.tolist(), values=[float(v) for v in flat[picks]])


def images():
    cases = []
    sizes = [("qwen3", 300, 200), ("qwen3", 100, 90), ("qwen3", 257, 511), ("qwen3", 31, 700),
             ("qwen2", 300, 200), ("qwen2", 33, 20), ("qwen2", 640, 427), ("small", 640, 480),
             ("small", 96, 64), ("small", 30, 17), ("small", 1, 1), ("small", 2000, 11),
             ("small", 128, 128)]
    for seed, (name, width, height) in enumerate(sizes):
        spec = SPECS[name]
        processor = Qwen2VLImageProcessorPil(**spec)
        out = processor(Image.fromarray(pattern(width, height, seed)), return_tensors="np")
        cases.append(dict(spec=name, width=width, height=height, seed=seed,
                          grid=out["image_grid_thw"][0].tolist(),
                          **summary(out["pixel_values"], spec["image_mean"], spec["image_std"])))
    return cases


def grids():
    draw = random.Random(6)
    rows = []
    while len(rows) < 200:
        name = draw.choice(list(SPECS))
        spec = SPECS[name]
        height = int(2 ** draw.uniform(0, 13))
        width = int(2 ** draw.uniform(0, 13))
        if len(rows) % 4 == 0:  # halves of a token, where rounding is told apart
            half = spec["patch_size"]
            height, width = half * draw.randint(1, 60), half * draw.randint(1, 60)
        if max(height, width) / min(height, width) > 200:
            continue
        to_height, to_width = smart_resize(height, width, spec["patch_size"] * 2,
                                           spec["size"]["shortest_edge"],
                                           spec["size"]["longest_edge"])
        count = Qwen2VLImageProcessorPil(**spec).get_number_of_image_patches(height, width)
        assert count == to_height * to_width // spec["patch_size"] ** 2
        rows.append([name, width, height, to_width // spec["patch_size"],
                     to_height // spec["patch_size"]])
    return rows


def video_processor(**more):
    size = more.pop("size", dict(shortest_edge=4096, longest_edge=25165824))
    return qwen3_video.Qwen3VLVideoProcessor(size=size, **more)


def sampling():
    draw = random.Random(7)
    processor = video_processor()
    rows = []
    for _ in range(80):
        total = int(2 ** draw.uniform(0, 13))
        fps = draw.choice([1, 2, 5, 8, 12.5, 24, 25, 29.97002997002997, 30, 60, 120])
        metadata = VideoMetadata(total_num_frames=total, fps=fps)
        indices = processor.sample_frames(metadata).tolist()
        times = Qwen3VLProcessor._calculate_timestamps(None, list(indices), fps, 2)
        rows.append(dict(total=total, fps=fps, indices=indices, times=times,
                         texts=[f"<{time:.1f} seconds>" for time in times]))
    return rows


def frame_sizes():
    draw = random.Random(8)
    rows = []
    for i in range(100):
        cap = i % 2 == 1
        frames = draw.choice([2, 3, 4, 5, 8, 17, 32, 64, 255, 768])
        height, width = int(2 ** draw.uniform(3, 12)), int(2 ** draw.uniform(3, 12))
        if max(height, width) / min(height, width) > 190:
            continue
        processor = video_processor(cap_pixels_per_frame=cap)
        count = processor.get_num_of_video_patches(frames, height, width)
        steps = (frames + 1) // 2
        rows.append([frames, width, height, cap, count // steps])
    return rows


def videos():
    cases = []
    small = dict(shortest_edge=4096, longest_edge=65536)
    for seed, (frames, width, height, fps) in enumerate(
            [(9, 100, 75, 4), (30, 64, 64, 6), (12, 200, 50, 24), (4, 96, 96, 2), (7, 20, 300, 7)]):
        clip = np.stack([pattern(width, height, 100 * seed + i) for i in range(frames)])
        clip = torch.from_numpy(clip).permute(0, 3, 1, 2)
        processor = video_processor(size=small, cap_pixels_per_frame=False)
        metadata = VideoMetadata(total_num_frames=frames, fps=fps)
        out = processor([clip], video_metadata=[metadata], return_tensors="np",
                        return_metadata=True)
        indices = out["video_metadata"][0].frames_indices
        times = Qwen3VLProcessor._calculate_timestamps(None, list(map(int, indices)), fps, 2)
        cases.append(dict(frames=frames, width=width, height=height, fps=fps, seed=seed,
                          grid=out["video_grid_thw"][0].tolist(), times=times,
                          **summary(out["pixel_values_videos"], [0.5] * 3, [0.5] * 3)))
    return cases


def fixture_images():
    """Files of every kind, with what Pillow and transformers read from them."""
    base = pattern(24, 16, 1)
    rgb = Image.fromarray(base)
    alpha = Image.fromarray(np.concatenate([base, pattern(24, 16, 2)[..., :1]], axis=2), "RGBA")
    grey = rgb.convert("L")
    palette = rgb.quantize(16)
    deep = Image.fromarray((base[..., 0].astype(np.uint16) << 8) | 0x5a)
    files = {}

    def save(name, image, fmt, **options):
        buffer = io.BytesIO()
        image.save(buffer, fmt, **options)
        files[name] = buffer.getvalue()

    save("rgb.png", rgb, "PNG")
    save("rgba.png", alpha, "PNG")
    save("grey.png", grey, "PNG")
    save("grey_alpha.png", alpha.convert("LA"), "PNG")
    save("bits.png", grey.convert("1"), "PNG")
    save("palette.png", palette, "PNG")
    save("palette_transparent.png", palette, "PNG", transparency=3)
    save("grey_transparent.png", grey.point(lambda v: v // 32 * 32), "PNG", transparency=64)
    save("grey16.png", deep, "PNG")
    save("rgb.bmp", rgb, "BMP")
    save("palette.bmp", palette, "BMP")
    save("rgb.tiff", rgb, "TIFF", compression="tiff_lzw")
    save("grey.tiff", grey, "TIFF")
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.tiff", rgb, "TIFF", exif=exif)
    save("turned.png", rgb, "PNG", exif=exif)
    save("still.gif", palette, "GIF", transparency=5)
    save("moving.gif", palette, "GIF", save_all=True,
         append_images=[rgb.transpose(Image.Transpose.ROTATE_180).quantize(16)])
    save("lossless.webp", alpha, "WEBP", lossless=True, exact=True)
    save("lossy.webp", rgb, "WEBP", quality=80)
    save("turned.webp", rgb, "WEBP", lossless=True, exif=exif)
    save("grey.jpg", grey, "JPEG", quality=90)
    save("progressive.jpg", rgb, "JPEG", quality=90, progressive=True)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"turned{orientation}.jpg", rgb, "JPEG", quality=90, subsampling=0, exif=exif)
    rows = []
    for name, data in files.items():
        (FIXTURES / name).write_bytes(data)
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        pixels = np.asarray(deep, dtype=np.uint16) >> 8 if name == "grey16.png" else None
        if pixels is None:
            pixels = convert_to_rgb(image, return_numpy=True)
        else:  # Pillow clips 16-bit grey at 255; the high byte is what is meant
            pixels = np.repeat(pixels[..., None].astype(np.uint8), 3, axis=2)
        rows.append(dict(name=name, width=pixels.shape[1], height=pixels.shape[0],
                         rgb=pixels.tobytes().hex()))
    save("cmyk.jpg", rgb.convert("CMYK"), "JPEG")
    save("cmyk.tiff", rgb.convert("CMYK"), "TIFF")
    for name in ("cmyk.jpg", "cmyk.tiff"):
        (FIXTURES / name).write_bytes(files[name])
    return rows


def pdf():
    """A document of three pages: text, shapes, and a turned page with a picture."""
    page = lambda content, more="": (content, more)
    pages = [
        page(b"BT /F1 36 Tf 30 120 Td (Think when needed) Tj ET"),
        page(b"0.8 0.1 0.1 rg 20 20 120 60 re f 0 0 1 RG 6 w 30 180 m 300 90 l S"),
        page(b"q 100 0 0 100 40 40 cm /I1 Do Q", "/Rotate 90"),
    ]
    picture = pattern(8, 8, 3).tobytes()
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = b" ".join(b"%d 0 R" % (5 + 2 * i) for i in range(len(pages)))
    objects.append(b"<< /Type /Pages /Kids [ %s ] /Count %d >>" % (kids, len(pages)))
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    objects.append(b"<< /Type /XObject /Subtype /Image /Width 8 /Height 8 /ColorSpace /DeviceRGB "
                   b"/BitsPerComponent 8 /Length %d >>\nstream\n%s\nendstream"
                   % (len(picture), picture))
    for i, (content, more) in enumerate(pages):
        objects.append(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 360 216] %s /Contents %d 0 R "
                       b"/Resources << /Font << /F1 3 0 R >> /XObject << /I1 4 0 R >> >> >>"
                       % (more.encode(), 6 + 2 * i))
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    (FIXTURES / "pages.pdf").write_bytes(out)
    rows = []
    for page in pypdfium2.PdfDocument(out):
        image = page.render(scale=150 / 72).to_pil().convert("L")
        cells = image.resize((12, 12), Image.Resampling.BOX)
        rows.append(dict(width=image.width, height=image.height, cells=list(cells.getdata())))
    return rows


def write(name, value):
    text = json.dumps(value, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text.replace('},{', '},\n{').replace('],[', '],\n[') + "\n")


FIXTURES.mkdir(exist_ok=True)
write("images", images())
write("grids", grids())
write("sampling", sampling())
write("frame_sizes", frame_sizes())
write("videos", videos())
write("decoded", fixture_images())
write("pages", pdf())

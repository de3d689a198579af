//! Video files, read by `ffmpeg` and `ffprobe` as separate programs.
//!
//! The container's format is told by its first bytes and given to the programs, so that
//! playlists and other formats that name further files are never opened; the only
//! protocol they may use is `file`.

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use super::{
    child::{self, Deadline},
    frames::{Frames, check_pixels},
    ppm,
    sampling::{Sampling, sample},
};
use crate::{error::MediaError, format::Format, image::Image, limits::Limits, vision::VideoSpec};

/// What is read as a video file.
const READABLE: &str = "MP4, MOV, Matroska, WebM and AVI";

/// The programs that read video files. Neither is needed for anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ffmpeg {
    /// Decodes; a name is looked up in `PATH`. Default: `ffmpeg`.
    pub ffmpeg: PathBuf,
    /// Counts frames; a name is looked up in `PATH`. Default: `ffprobe`.
    pub ffprobe: PathBuf,
}

impl Default for Ffmpeg {
    fn default() -> Self {
        Self { ffmpeg: "ffmpeg".into(), ffprobe: "ffprobe".into() }
    }
}

/// Samples and decodes the frames of a video file.
///
/// Frames are counted by the packets of the first video stream, at its average rate.
///
/// # Errors
/// Refuses other formats, damaged files, and what exceeds `limits`; fails when a program
/// is absent. A program that takes too long is killed.
pub fn sample_video_file(
    bytes: &[u8],
    spec: &VideoSpec,
    limits: &Limits,
    programs: &Ffmpeg,
) -> Result<Frames, MediaError> {
    if bytes.is_empty() {
        return Err(MediaError::Empty);
    }
    let max = limits.video_bytes_max as u64;
    MediaError::check_limit("size of the video in bytes", bytes.len() as u64, max)?;
    let format = Format::of(bytes);
    let demuxer = match format {
        Format::Mp4 => "mov",
        Format::Matroska => "matroska",
        Format::Avi => "avi",
        _ => return Err(MediaError::Format { format, kind: "a video", readable: READABLE }),
    };
    let deadline =
        Deadline { at: Instant::now() + limits.video_time_max, max: limits.video_time_max };
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    let input = Input { format, demuxer, path: file.path() };
    let stream = probe(&input, programs, deadline)?;
    check_pixels(stream.size(), 1, limits)?;
    let sampling = sample(stream.frames, stream.fps, spec);
    let count = sampling.indices.len();
    MediaError::check_limit("number of frames", count as u64, limits.video_frames_max as u64)?;
    check_pixels(stream.size(), count, limits)?;
    decode(&input, sampling, (spec, limits), programs, deadline)
}

struct Input<'a> {
    format: Format,
    demuxer: &'static str,
    path: &'a Path,
}

impl Input<'_> {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            ["-v", "error", "-protocol_whitelist", "file", "-f", self.demuxer, "-i"]
                .map(OsString::from)
                .into();
        arguments.push(self.path.into());
        arguments
    }

    fn damaged(&self, problem: impl Into<String>) -> MediaError {
        MediaError::Damaged { format: self.format, problem: problem.into() }
    }
}

/// The first video stream.
struct Stream {
    width: u32,
    height: u32,
    fps: f64,
    frames: usize,
}

impl Stream {
    fn size(&self) -> crate::vision::Size {
        crate::vision::Size { width: self.width, height: self.height }
    }
}

fn probe(input: &Input<'_>, programs: &Ffmpeg, deadline: Deadline) -> Result<Stream, MediaError> {
    let entries = "stream=width,height,avg_frame_rate,nb_read_packets";
    let mut command = Command::new(&programs.ffprobe);
    command.args(input.arguments());
    command.args(["-select_streams", "v:0", "-count_packets", "-show_entries", entries]);
    command.args(["-of", "default=noprint_wrappers=1"]);
    let mut text = String::new();
    let run = child::run(command, deadline, |out| {
        io::Read::read_to_string(&mut io::Read::take(out, 64 << 10), &mut text).map(drop)
    });
    run.map_err(|failure| failure.into_error("reading the video", input.format))?;
    let value =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str| value(name)?.trim().parse::<u32>().ok();
    let absent = || input.damaged("it has no video stream that can be read");
    Ok(Stream {
        width: number("width").ok_or_else(absent)?,
        height: number("height").ok_or_else(absent)?,
        fps: value("avg_frame_rate").and_then(ratio).unwrap_or(0.0),
        frames: number("nb_read_packets").filter(|&count| count > 0).ok_or_else(absent)? as usize,
    })
}

/// Reads `30000/1001`.
fn ratio(text: &str) -> Option<f64> {
    let (above, below) = text.trim().split_once('/')?;
    let (above, below): (f64, f64) = (above.parse().ok()?, below.parse().ok()?);
    (below > 0.0).then_some(above / below)
}

fn decode(
    input: &Input<'_>,
    sampling: Sampling,
    (spec, limits): (&VideoSpec, &Limits),
    programs: &Ffmpeg,
    deadline: Deadline,
) -> Result<Frames, MediaError> {
    let count = sampling.indices.len();
    let chosen: Vec<String> = sampling.indices.iter().map(|i| format!("eq(n\\,{i})")).collect();
    let mut command = Command::new(&programs.ffmpeg);
    command.arg("-nostdin").args(["-threads", "2"]).args(input.arguments());
    command.args(["-map", "0:v:0", "-vf"]).arg(format!("select={}", chosen.join("+")));
    command.args(["-fps_mode", "passthrough", "-frames:v"]).arg(count.to_string());
    command.args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]);
    let mut frames = None;
    let run = child::run(command, deadline, |out| {
        let mut out = io::BufReader::with_capacity(1 << 20, out);
        let mut last: Option<Image> = None;
        let images = (0..count).map_while(|_| match ppm::read(&mut out, limits) {
            Ok(Some(image)) => {
                last = Some(image.clone());
                Some(Ok(image))
            }
            // The count was of packets; a decoder may drop the last ones.
            Ok(None) => last.clone().map(Ok),
            Err(error) => Some(Err(error)),
        });
        frames = Some(Frames::new(images, sampling, spec));
        Ok(())
    });
    let what = "decoding the video";
    match (frames, run) {
        // What stopped the reading is why the program then failed.
        (Some(Err(error @ MediaError::Limit { .. })), _) => Err(error),
        (_, Err(failure)) => Err(failure.into_error(what, input.format)),
        (Some(Err(MediaError::Empty)), Ok(())) => Err(input.damaged("no frame could be decoded")),
        (Some(result), Ok(())) => result,
        (None, Ok(())) => Err(input.damaged("no frame could be decoded")),
    }
}

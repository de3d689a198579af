//! Video files and lists of frames, with programs that misbehave in `ffmpeg`'s place.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use twn_media::{
    Ffmpeg, Limits, Media, MediaError, MediaReader, VideoSpec, decode_frames, sample_video_file,
};

use crate::fixture;

/// Enough to be taken for a film.
const FILM: &[u8] = b"\0\0\0\x20ftypisom and no more";

fn script(folder: &Path, name: &str, lines: &str) -> PathBuf {
    let path = folder.join(name);
    fs_err::write(&path, format!("#!/bin/sh\n{lines}\n")).expect("writes");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permits");
    path
}

fn programs(folder: &Path, ffmpeg: &str) -> Ffmpeg {
    let probe = "printf 'width=4\\nheight=4\\navg_frame_rate=4/1\\nnb_read_packets=8\\n'";
    Ffmpeg { ffmpeg: script(folder, "ffmpeg", ffmpeg), ffprobe: script(folder, "ffprobe", probe) }
}

fn read(ffmpeg: &str, limits: &Limits) -> Result<usize, MediaError> {
    let folder = tempfile::tempdir().expect("folder");
    let programs = programs(folder.path(), ffmpeg);
    sample_video_file(FILM, &VideoSpec::QWEN3_VL, limits, &programs)
        .map(|frames| frames.images().len())
}

#[test]
fn absent_programs_are_named() {
    let programs = Ffmpeg { ffprobe: "/nowhere/ffprobe".into(), ..Ffmpeg::default() };
    let error = sample_video_file(FILM, &VideoSpec::QWEN3_VL, &Limits::default(), &programs)
        .expect_err("is absent");
    let text = error.to_string();
    assert_eq!(
        text,
        "video files need the program `/nowhere/ffprobe`: it is not installed; send the frames instead"
    );
    assert!(!error.is_callers_fault());
}

#[test]
fn frames_come_through_the_pipe() {
    // Eight frames at 4 a second are sampled at 2 a second: four of them.
    let picture = "printf 'P6\\n4 4\\n255\\n'; head -c 48 /dev/zero";
    let four = format!("for i in 1 2 3 4; do {picture}; done");
    assert_eq!(read(&four, &Limits::default()).expect("reads"), 4);
    // A decoder that drops the last frame: the one before stands in.
    let three = format!("for i in 1 2 3; do {picture}; done");
    assert_eq!(read(&three, &Limits::default()).expect("reads"), 4);
}

#[test]
fn programs_that_hang_are_killed() {
    let limits = Limits { video_time_max: Duration::from_millis(200), ..Limits::default() };
    let start = Instant::now();
    for hangs in ["exec sleep 600", "printf 'P6\\n4 4\\n255\\n'; exec sleep 600"] {
        let error = read(hangs, &limits).expect_err("hangs");
        assert!(matches!(error, MediaError::Time { .. }), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(60), "was not killed");
}

#[test]
fn programs_that_fail_are_quoted_and_those_that_lie_are_caught() {
    let error = read("echo 'moov atom not found' >&2; exit 1", &Limits::default());
    let text = error.expect_err("fails").to_string();
    assert_eq!(text, "MP4 file is damaged: moov atom not found");
    let large = Limits { image_pixels_max: 1000, ..Limits::default() };
    let error = read("printf 'P6\\n4000 4000\\n255\\n'", &large).expect_err("is too large");
    assert!(matches!(error, MediaError::Limit { .. }), "{error}");
    assert!(read("true", &Limits::default()).is_err());
    assert!(read("exec cat /dev/zero", &Limits::default()).is_err());
}

#[test]
fn lists_of_frames_are_checked() {
    let frame = fixture("rgb.png");
    let other = fixture("turned.png");
    let spec = VideoSpec::QWEN3_VL;
    let frames = |files: &[Vec<u8>], limits: &Limits| decode_frames(files, 0.0, &spec, limits);
    assert!(matches!(frames(&[], &Limits::default()), Err(MediaError::Empty)));
    let error = frames(&[frame.clone(), other], &Limits::default()).expect_err("sizes differ");
    assert!(error.to_string().contains("different sizes: 24 x 16 and 16 x 24"), "{error}");
    let few = Limits { video_frames_max: 2, ..Limits::default() };
    let error = frames(&vec![frame.clone(); 3], &few).expect_err("are three");
    assert_eq!(error.to_string(), "number of frames is 3, at most 2 is accepted");
    let patches = frames(&vec![frame; 3], &Limits::default()).expect("are three").patches();
    assert_eq!(patches.grid.t, 2, "the last frame is repeated");
}

/// The only test here that needs the real programs; without them it tests their absence.
#[test]
fn a_real_film_is_sampled() {
    let reader = MediaReader::default();
    match reader.frames(&Media::video(fixture("film.mp4"))) {
        Ok(frames) => {
            assert_eq!(frames.sampling().indices, [0, 6, 12, 18, 24]);
            assert_eq!(frames.images()[0].size(), frames.images()[4].size());
            assert_ne!(frames.images()[0], frames.images()[4]);
            let patches = frames.patches();
            assert_eq!(patches.timestamps, [0.3, 1.5, 2.4]);
        }
        Err(error) => {
            assert!(matches!(error, MediaError::Tool { .. }), "{error}");
            eprintln!("skipped: {error}");
        }
    }
}

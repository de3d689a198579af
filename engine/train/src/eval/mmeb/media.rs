//! The files that inputs name: found, bounded, and read as parts of content.

use std::path::{Component, Path, PathBuf};

use twn_encoder::{Content, EmbedKind, EncodeInput, Media, MediaKind, Part};

use super::data::MmebInput;
use crate::eval::EvalError;

/// Files of one folder of frames at most.
const FRAMES_MAX: usize = 4096;
/// Bytes of one picture at most.
const PICTURE_BYTES_MAX: u64 = 64 << 20;

/// Where a task's media lies, and how much of a video is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFolders {
    /// Folders in which names are looked up, in this order.
    pub roots: Vec<PathBuf>,
    /// Frames of a video, evenly spaced from the first to the last; 8 in MMEB-V2.
    pub frames: usize,
}

impl MediaFolders {
    /// Reads an input's media and makes what an encoder takes: media first, then text.
    ///
    /// # Errors
    /// Fails when a file is not in any of the folders, or a limit is exceeded.
    pub(super) fn load(
        &self,
        input: &MmebInput,
        kind: EmbedKind,
    ) -> Result<EncodeInput, EvalError> {
        let mut parts = Vec::new();
        for (names, kind) in [(&input.images, MediaKind::Image), (&input.pages, MediaKind::Page)] {
            for name in names {
                let file = picture(&self.find(name)?)?;
                parts.push(media(kind, vec![file], name));
            }
        }
        for name in &input.videos {
            let frames = self.frames_of(&self.find(name)?)?;
            let files = frames.iter().map(|path| picture(path)).collect::<Result<_, _>>()?;
            parts.push(media(MediaKind::Video, files, name));
        }
        if !input.text.is_empty() {
            parts.push(Part::Text(input.text.clone()));
        }
        let instruction = (!input.instruction.is_empty()).then(|| input.instruction.clone());
        Ok(EncodeInput { content: Content { parts }, instruction, kind })
    }

    /// Finds a name. Data from elsewhere may name files within the folders only.
    fn find(&self, name: &Path) -> Result<PathBuf, EvalError> {
        let is_within = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !name.components().all(is_within) {
            return Err(EvalError::data(name, "is not a path within the data's folders"));
        }
        let mut places = self.roots.iter().map(|root| root.join(name));
        places.find(|path| path.exists()).ok_or_else(|| {
            let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
            EvalError::data(name, format!("is not in {}", roots.join(" or ")))
        })
    }

    /// The frames to take, in the order of the numbers in their names.
    fn frames_of(&self, folder: &Path) -> Result<Vec<PathBuf>, EvalError> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            if matches!(extension.as_deref(), Some("jpg" | "jpeg" | "png")) {
                names.push(path);
            }
            if names.len() > FRAMES_MAX {
                let problem = format!("has more than {FRAMES_MAX} frames");
                return Err(EvalError::data(folder, problem));
            }
        }
        if names.is_empty() {
            return Err(EvalError::data(folder, "has no frames: .jpg, .jpeg or .png"));
        }
        names.sort_by_cached_key(|path| {
            natural(&path.file_name().unwrap_or_default().to_string_lossy())
        });
        Ok(spaced(names.len(), self.frames).into_iter().map(|at| names[at].clone()).collect())
    }
}

/// Positions of `wanted` frames among `count`, as numpy's `linspace` of whole numbers gives
/// them; all where there are fewer.
fn spaced(count: usize, wanted: usize) -> Vec<usize> {
    if wanted == 0 || wanted > count {
        return (0..count).collect();
    }
    if wanted == 1 {
        return vec![0];
    }
    let step = (count - 1) as f64 / (wanted - 1) as f64;
    let last = wanted - 1;
    (0..wanted).map(|i| if i == last { count - 1 } else { (i as f64 * step) as usize }).collect()
}

/// A name as texts and numbers, so that frame 10 comes after frame 9.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0u64)];
    let mut in_digits = false;
    for c in name.to_lowercase().chars() {
        match (c.to_digit(10), parts.last_mut()) {
            (Some(digit), Some((_, number))) => {
                *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                in_digits = true;
            }
            (None, Some((text, _))) if !in_digits => text.push(c),
            _ => {
                parts.push((c.to_string(), 0));
                in_digits = false;
            }
        }
    }
    parts
}

fn media(kind: MediaKind, files: Vec<Vec<u8>>, name: &Path) -> Part {
    Part::Media(Media { kind, files, uri: name.to_string_lossy().into_owned(), ..Media::default() })
}

fn picture(path: &Path) -> Result<Vec<u8>, EvalError> {
    let bytes = fs_err::metadata(path)?.len();
    if bytes > PICTURE_BYTES_MAX {
        let problem = format!("has {bytes} bytes, at most {PICTURE_BYTES_MAX} are read");
        return Err(EvalError::data(path, problem));
    }
    Ok(fs_err::read(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spaced_as_numpy_does() {
        assert_eq!(spaced(64, 8), [0, 9, 18, 27, 36, 45, 54, 63]);
        assert_eq!(spaced(10, 4), [0, 3, 6, 9]);
        assert_eq!(spaced(11, 4), [0, 3, 6, 10]);
        assert_eq!(spaced(3, 8), [0, 1, 2]);
        assert_eq!(spaced(5, 1), [0]);
        assert_eq!(spaced(2, 0), [0, 1]);
    }

    #[test]
    fn numbers_in_names_are_numbers() {
        let mut names = ["frame_10.jpg", "frame_9.jpg", "Frame_1.jpg", "a.jpg"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["a.jpg", "Frame_1.jpg", "frame_9.jpg", "frame_10.jpg"]);
    }

    #[test]
    fn names_lead_nowhere_else() {
        let folders = MediaFolders { roots: vec![PathBuf::from("/")], frames: 8 };
        for name in ["/etc/hostname", "../x", "a/../../x"] {
            let problem = folders.find(Path::new(name)).expect_err("refused").to_string();
            assert!(problem.contains("within the data's folders"), "{problem}");
        }
    }
}

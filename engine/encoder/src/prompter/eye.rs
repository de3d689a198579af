//! Media to vision tokens and patches, for one backbone that sees.

use serde_json::json;
use tokenizers::Tokenizer;
use twn_media::{MediaReader, Patches};

use super::mixed::Segment;
use crate::{
    backbone::{Grid, VisionConfig},
    content::{Content, Part},
    error::EncoderError,
    model::MediaSpecs,
    pictures::Pictures,
    template::ChatTemplate,
};

const START: &str = "<|vision_start|>";
const END: &str = "<|vision_end|>";
/// Of the tokens that a video may take, slices of time take at most one in so many, so that
/// timestamps and markers leave most of them to pixels.
const VIDEO_SLICE_SHARE: usize = 32;

/// Turns media into tokens and patches.
#[derive(Debug)]
pub(crate) struct Eye {
    reader: MediaReader,
    merge: usize,
    start: u32,
    end: u32,
    image: u32,
    video: u32,
    /// The most vision tokens of one content.
    tokens_max: usize,
}

/// A content as the prompter lays it out, and its pixels.
#[derive(Debug)]
pub(super) struct Seen {
    /// In reading order.
    pub(super) segments: Vec<Segment>,
    pub(super) pictures: Pictures,
    pub(super) vision_tokens: usize,
}

impl Eye {
    /// Makes the eye of a backbone for prompts of at most `prompt_tokens_max` tokens.
    ///
    /// # Errors
    /// Fails when the tokenizer lacks the markers around pixels, or the template does not
    /// lay images and videos out between them.
    pub(super) fn new(
        vision: &VisionConfig,
        specs: &MediaSpecs,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        prompt_tokens_max: usize,
    ) -> Result<Self, EncoderError> {
        let marker = |text: &str| {
            tokenizer.token_to_id(text).ok_or_else(|| refused(format!("needs the token {text}")))
        };
        check_template(template, tokenizer, vision)?;
        let tokens_max = vision_tokens_max(prompt_tokens_max);
        let MediaSpecs { image, video } = fit(specs, tokens_max);
        Ok(Self {
            reader: MediaReader { image, video, ..MediaReader::default() },
            merge: vision.merge_size,
            start: marker(START)?,
            end: marker(END)?,
            image: vision.image_token,
            video: vision.video_token,
            tokens_max,
        })
    }

    /// Tokens that user text must never become.
    pub(super) fn markers(&self) -> [u32; 4] {
        [self.start, self.end, self.image, self.video]
    }

    /// Describes everything that pixels depend on, for the fingerprint.
    pub(crate) fn describe(&self) -> String {
        let MediaReader { image, video, page_dpi, .. } = &self.reader;
        format!("{image:?} {video:?} {page_dpi} dpi")
    }

    /// Reads the media of a content; text parts that follow one another are joined by
    /// newlines.
    ///
    /// # Errors
    /// Blames the part that cannot be read, or the whole for its size.
    pub(super) fn look(&self, content: &Content) -> Result<Seen, EncoderError> {
        let mut seen =
            Seen { segments: Vec::new(), pictures: Pictures::default(), vision_tokens: 0 };
        let mut is_after_text = false;
        for (index, part) in content.parts.iter().enumerate() {
            match part {
                Part::Text(text) => {
                    if is_after_text {
                        seen.push_text("\n");
                    }
                    seen.push_text(text);
                }
                Part::Media(media) => {
                    let patches = self.reader.read(media);
                    let patches =
                        patches.map_err(|source| EncoderError::Media { index, source })?;
                    self.add(&mut seen, patches)?;
                }
            }
            is_after_text = matches!(part, Part::Text(_));
        }
        Ok(seen)
    }

    fn add(&self, seen: &mut Seen, patches: Patches) -> Result<(), EncoderError> {
        let grid = Grid {
            slices: patches.grid.t as usize,
            height: patches.grid.h as usize,
            width: patches.grid.w as usize,
        };
        let tokens = grid.tokens(self.merge);
        seen.vision_tokens += tokens;
        if seen.vision_tokens > self.tokens_max {
            let (got, max) = (seen.vision_tokens, self.tokens_max);
            return Err(EncoderError::MediaTooLong { got, max });
        }
        let is_video = !patches.timestamps.is_empty();
        let stand_in = if is_video { self.video } else { self.image };
        let mut run = vec![stand_in; tokens / grid.slices + 2];
        if let [first, .., last] = run.as_mut_slice() {
            (*first, *last) = (self.start, self.end);
        }
        for slice in 0..grid.slices {
            if let Some(time) = patches.timestamp_text(slice) {
                seen.push_text(&time);
            }
            seen.segments.push(Segment::Tokens(run.clone()));
        }
        seen.pictures.grids.push(grid);
        // One picture is the usual case: its patches need not be copied.
        if seen.pictures.patches.is_empty() {
            seen.pictures.patches = patches.values;
        } else {
            seen.pictures.patches.extend(patches.values);
        }
        Ok(())
    }
}

impl Seen {
    fn push_text(&mut self, text: &str) {
        match self.segments.last_mut() {
            Some(Segment::Text(last)) => last.push_str(text),
            _ => self.segments.push(Segment::Text(text.to_owned())),
        }
    }
}

/// Three quarters of a prompt may be pixels, so that template, instruction and some text fit
/// beside them.
fn vision_tokens_max(prompt_tokens_max: usize) -> usize {
    prompt_tokens_max / 4 * 3
}

/// Lowers a processor's upper bounds to what `tokens` vision tokens can hold: a large picture
/// is shrunk further, as the processor shrinks those beyond its own bound.
fn fit(specs: &MediaSpecs, tokens: usize) -> MediaSpecs {
    let mut fitted = specs.clone();
    let MediaSpecs { image, video } = &mut fitted;
    let pixels = |tokens: usize, factor: u32| {
        (tokens as u64).saturating_mul(u64::from(factor) * u64::from(factor)).max(1)
    };
    image.max_pixels = image.max_pixels.min(pixels(tokens, image.factor()));
    image.min_pixels = image.min_pixels.min(image.max_pixels);
    let frames = video.vision.temporal_patch as usize;
    video.max_frames = video.max_frames.min((tokens / VIDEO_SLICE_SHARE).max(1) * frames);
    video.min_frames = video.min_frames.min(video.max_frames);
    // The bound is on the pixels of all frames, a token stands for those of a whole slice.
    let own = pixels(tokens / 8 * 5, video.vision.factor()).saturating_mul(frames as u64);
    video.vision.max_pixels = video.vision.max_pixels.min(own);
    video.vision.min_pixels = video.vision.min_pixels.min(video.vision.max_pixels);
    fitted
}

/// Renders parts of each kind and looks whether they stand where [`Eye::look`] puts them.
fn check_template(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    vision: &VisionConfig,
) -> Result<(), EncoderError> {
    const TEXT: &str = "\u{f0000}text\u{f0001}";
    let stand_in = |id: u32| {
        tokenizer
            .id_to_token(id)
            .ok_or_else(|| refused(format!("needs token {id}, which stands for pixels")))
    };
    let (image, video) = (stand_in(vision.image_token)?, stand_in(vision.video_token)?);
    let parts = json!([
        {"type": "image"}, {"type": "text", "text": TEXT}, {"type": "video"},
        {"type": "text", "text": TEXT},
    ]);
    let messages = json!([{"role": "user", "content": parts}]);
    let rendered = template.render_json(&messages, true)?;
    let want = format!("{START}{image}{END}{TEXT}{START}{video}{END}{TEXT}");
    if rendered.contains(&want) {
        return Ok(());
    }
    Err(refused(format!("lays images and videos out in a way that is not supported: {rendered:?}")))
}

fn refused(problem: String) -> EncoderError {
    EncoderError::Option { option: "chat_template", problem }
}

#[cfg(test)]
mod tests {
    use twn_media::{Size, VideoSpec, VisionSpec, image_size, video_frame_size};

    use super::*;

    #[test]
    fn large_pictures_are_shrunk_to_the_prompt() {
        let specs = MediaSpecs { image: VisionSpec::QWEN3_VL, video: VideoSpec::QWEN3_VL };
        for tokens in [200, 1500, 5000] {
            let fitted = fit(&specs, tokens);
            for (width, height) in [(4000, 3000), (300, 1200), (64, 64)] {
                let from = Size { width, height };
                let size = image_size(from, &fitted.image).expect("a size");
                assert!(size.pixels() as usize / 1024 <= tokens, "{tokens} {from:?} {size:?}");
                let frames = fitted.video.max_frames;
                let size = video_frame_size(from, frames, &fitted.video).expect("a size");
                // Each slice has its pixels, two markers and about ten tokens of time.
                let all = frames / 2 * (size.pixels() as usize / 1024 + 12);
                assert!(all <= tokens, "{tokens} {from:?}: {all}");
            }
        }
        assert_eq!(fit(&specs, 1 << 15), specs, "a long context leaves the model's bounds");
    }
}

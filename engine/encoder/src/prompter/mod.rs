//! Turns inputs into prompts: template, instruction and content, as token ids.
//!
//! Two things make this more than rendering and tokenising. What a user writes must never
//! become a marker of the template: `<|im_end|>` in a document is text, so the template's
//! own markers are found once and everything else is tokenised with markers switched off.
//! And a prompt must be exactly what transformers would make of the rendered text: the text
//! between two markers is tokenised as a whole, template and content together, because a
//! byte-level tokenizer may join a template's newline with the spaces that follow it.

mod eye;
mod frame;
mod layout;
mod mixed;
mod text;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokenizers::Tokenizer;

pub(crate) use self::eye::Eye;
use self::{frame::Frame, layout::Layout, text::TextEncoder};
use crate::{
    adapter::Manifest,
    capitals::Capitals,
    checkpoint::Checkpoint,
    content::{Content, EmbedKind, EncodeInput, Part},
    embedder::{Prepare, Prompt},
    error::EncoderError,
    template::ChatTemplate,
};

/// Instructions whose tokens are kept besides the two defaults.
const FRAMES_MAX: usize = 64;
/// Longer instructions are tokenised anew each time, so that the cache stays small.
const CACHED_INSTRUCTION_BYTES_MAX: usize = 4096;

/// What a [`Prompter`] must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrompterOptions {
    /// Instruction for queries whose caller gives none.
    pub query_instruction: String,
    /// Instruction for documents whose caller gives none.
    pub document_instruction: String,
    /// The most tokens a prompt may have; longer content is cut at its end.
    pub max_prompt_tokens: usize,
    /// How text in capitals alone is read, where it is all of a content.
    pub capitals: Capitals,
}

/// Makes prompts; shared by all threads.
pub struct Prompter {
    encoder: TextEncoder,
    layout: Layout,
    /// The layout for an empty instruction, which a template may treat as none.
    layout_without: Layout,
    query: Arc<Frame>,
    document: Arc<Frame>,
    frames: Mutex<FrameCache>,
    max_prompt_tokens: usize,
    capitals: Capitals,
    /// Reads media; `None` refuses them.
    eye: Option<Eye>,
}

/// The frames of recent instructions; the oldest goes first.
#[derive(Default)]
struct FrameCache {
    frames: HashMap<String, Arc<Frame>>,
    order: VecDeque<String>,
}

impl Prompter {
    /// Studies the template and tokenises the default instructions.
    ///
    /// # Errors
    /// Fails when the template does not take a system message and a user message and put
    /// each into the text once, unchanged or trimmed; when the tokenizer would turn content
    /// into markers; and when a default instruction does not fit.
    pub fn new(
        tokenizer: Tokenizer,
        template: &ChatTemplate,
        options: &PrompterOptions,
    ) -> Result<Self, EncoderError> {
        Self::with_eye(tokenizer, template, options, None)
    }

    fn with_eye(
        tokenizer: Tokenizer,
        template: &ChatTemplate,
        options: &PrompterOptions,
        eye: Option<Eye>,
    ) -> Result<Self, EncoderError> {
        let layout = Layout::of_template(template, &tokenizer)?;
        let layout_without = Layout::without_instruction(template, &tokenizer)?;
        let mut markers = layout.markers();
        markers.extend(eye.iter().flat_map(Eye::markers));
        let encoder = TextEncoder::new(tokenizer, &markers)?;
        let frame = |instruction: &str| {
            let layout = if instruction.is_empty() { &layout_without } else { &layout };
            Frame::new(layout, instruction, &encoder, options.max_prompt_tokens).map(Arc::new)
        };
        Ok(Self {
            query: frame(layout.instruction(&options.query_instruction))?,
            document: frame(layout.instruction(&options.document_instruction))?,
            encoder,
            layout,
            layout_without,
            frames: Mutex::default(),
            max_prompt_tokens: options.max_prompt_tokens,
            capitals: options.capitals,
            eye,
        })
    }

    /// Makes the prompter of a backbone with adapters, for prompts of at most
    /// `max_prompt_tokens` tokens.
    ///
    /// # Errors
    /// Fails as [`Self::new`], when the chat template is no Jinja template, and when a
    /// backbone that sees has a template that does not lay images and videos out.
    pub fn of(
        checkpoint: &Checkpoint,
        manifest: &Manifest,
        max_prompt_tokens: usize,
    ) -> Result<Self, EncoderError> {
        let template = ChatTemplate::new(
            checkpoint.chat_template.as_str(),
            checkpoint.bos_token.clone(),
            checkpoint.eos_token.as_str(),
        )?;
        let options = PrompterOptions {
            query_instruction: manifest.instructions.query.clone(),
            document_instruction: manifest.instructions.document.clone(),
            max_prompt_tokens,
            capitals: manifest.capitals,
        };
        let tokenizer = checkpoint.tokenizer.clone();
        let eye = match (&checkpoint.config.vision, &checkpoint.media) {
            (Some(vision), Some(specs)) => {
                Some(Eye::new(vision, specs, &tokenizer, &template, max_prompt_tokens)?)
            }
            _ => None,
        };
        Self::with_eye(tokenizer, &template, &options, eye)
    }

    /// Turns ids back into text, without markers. Ids that were cut inside a character lose
    /// that character: the replacement characters it would leave at the end are removed.
    ///
    /// # Errors
    /// Fails when an id is no token.
    pub fn decode(&self, ids: &[u32]) -> Result<String, EncoderError> {
        self.encoder.decode(ids)
    }

    /// What makes patches of pixels, if the backbone sees.
    pub(crate) fn eye(&self) -> Option<&Eye> {
        self.eye.as_ref()
    }

    /// Makes the prompt of a content with media.
    fn prepare_media(&self, eye: &Eye, input: &EncodeInput) -> Result<Prompt, EncoderError> {
        let frame = self.frame(input)?;
        let seen = eye.look(&input.content)?;
        let prompt = frame.mixed_prompt(&seen.segments, &self.encoder, self.max_prompt_tokens)?;
        let vision_tokens = u32::try_from(seen.vision_tokens).unwrap_or(u32::MAX);
        Ok(Prompt { vision_tokens, pictures: Some(Arc::new(seen.pictures)), ..prompt })
    }

    fn frame(&self, input: &EncodeInput) -> Result<Arc<Frame>, EncoderError> {
        let Some(instruction) = input.instruction.as_deref() else {
            return Ok(match input.kind {
                EmbedKind::Query => Arc::clone(&self.query),
                EmbedKind::Document => Arc::clone(&self.document),
            });
        };
        let instruction = self.layout.instruction(instruction);
        if let Some(frame) = self.cache().frames.get(instruction) {
            return Ok(Arc::clone(frame));
        }
        let layout = if instruction.is_empty() { &self.layout_without } else { &self.layout };
        // Built outside the lock: a long instruction holds up its own caller alone.
        let frame =
            Arc::new(Frame::new(layout, instruction, &self.encoder, self.max_prompt_tokens)?);
        if instruction.len() <= CACHED_INSTRUCTION_BYTES_MAX {
            self.cache().insert(instruction, &frame);
        }
        Ok(frame)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, FrameCache> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrameCache {
    fn insert(&mut self, instruction: &str, frame: &Arc<Frame>) {
        if self.frames.insert(instruction.to_owned(), Arc::clone(frame)).is_none() {
            self.order.push_back(instruction.to_owned());
        }
        if self.order.len() > FRAMES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.frames.remove(&oldest);
        }
    }
}

impl Prepare for Prompter {
    fn prepare(&self, input: &EncodeInput) -> Result<Prompt, EncoderError> {
        let has_media = input.content.parts.iter().any(|part| matches!(part, Part::Media(_)));
        if let Some(eye) = self.eye.as_ref().filter(|_| has_media) {
            return self.prepare_media(eye, input);
        }
        let text = self.capitals.read(text_of(&input.content)?);
        let frame = self.frame(input)?;
        frame.prompt(self.layout.content(&text), &self.encoder, self.max_prompt_tokens)
    }
}

/// Joins the text of a content that is text alone, and not only whitespace.
fn text_of(content: &Content) -> Result<String, EncoderError> {
    for (index, part) in content.parts.iter().enumerate() {
        if let Part::Media(media) = part {
            return Err(EncoderError::UnsupportedPart { index, kind: media.to_string() });
        }
    }
    let text = content.joined_text();
    if text.trim().is_empty() { Err(EncoderError::EmptyContent) } else { Ok(text) }
}

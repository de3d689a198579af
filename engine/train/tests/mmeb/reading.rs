//! A stand-in for an encoder that sees.

use std::sync::Arc;

use twn_encoder::{
    Content, Direct, Embedder, EncodeInput, EncoderError, EncoderInfo, FakeContext, FakeEmbedder,
    FakeOptions, FakeThought, MediaKind, Part, Prepare, Prompt, Reasoned, ThoughtOptions,
};

/// An encoder that takes a media file's bytes for text.
pub(crate) struct Reading {
    inner: FakeEmbedder,
}

struct ReadingPrompter(Arc<dyn Prepare>);

impl Prepare for ReadingPrompter {
    fn prepare(&self, input: &EncodeInput) -> Result<Prompt, EncoderError> {
        let read = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Media(media) => {
                assert!(media.kind == MediaKind::Video || media.files.len() == 1);
                let texts = media.files.iter().map(|file| String::from_utf8_lossy(file));
                texts.collect::<Vec<_>>().join(" ")
            }
        };
        let texts: Vec<String> = input.content.parts.iter().map(read).collect();
        self.0.prepare(&EncodeInput { content: Content::text(texts.join(" ")), ..input.clone() })
    }
}

impl Embedder for Reading {
    type Context = FakeContext;
    type Thought = FakeThought;

    fn info(&self) -> &EncoderInfo {
        self.inner.info()
    }

    fn prompter(&self) -> Arc<dyn Prepare> {
        Arc::new(ReadingPrompter(self.inner.prompter()))
    }

    fn direct(&mut self, prompts: &[&Prompt]) -> Result<Vec<Direct<FakeContext>>, EncoderError> {
        self.inner.direct(prompts)
    }

    fn think(
        &mut self,
        context: FakeContext,
        options: &ThoughtOptions,
    ) -> Result<FakeThought, EncoderError> {
        self.inner.think(context, options)
    }

    fn step(&mut self, thoughts: &mut [&mut FakeThought]) -> Result<(), EncoderError> {
        self.inner.step(thoughts)
    }

    fn reasoned(&mut self, thought: FakeThought) -> Result<Reasoned, EncoderError> {
        self.inner.reasoned(thought)
    }
}

pub(crate) fn encoder() -> Reading {
    Reading { inner: FakeEmbedder::new(FakeOptions::default()) }
}

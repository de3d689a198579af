//! A stand-in for an encoder that sees.

use std::sync::Arc;

use twn_encoder::{
    Begun, Content, Direct, Embedder, EncodeInput, EncoderError, EncoderInfo, FakeContext,
    FakeEmbedder, FakeOptions, FakeThought, MediaKind, Part, Prepare, Prompt, Reasoned,
    ThoughtOptions,
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

    fn room(&self, prompt: &Prompt) -> u32 {
        self.inner.room(prompt)
    }

    fn begin(&mut self, prompts: &[&Prompt]) -> Result<Vec<Begun<FakeContext>>, EncoderError> {
        self.inner.begin(prompts)
    }

    fn open(
        &mut self,
        prompts: Vec<(FakeContext, ThoughtOptions)>,
    ) -> Result<Vec<FakeThought>, EncoderError> {
        self.inner.open(prompts)
    }

    fn step(&mut self, thoughts: &mut [&mut FakeThought]) -> Result<(), EncoderError> {
        self.inner.step(thoughts)
    }

    fn catch_up(&mut self, thoughts: &mut [&mut FakeThought]) -> Result<bool, EncoderError> {
        self.inner.catch_up(thoughts)
    }

    fn finish(&mut self, thoughts: Vec<FakeThought>) -> Result<Vec<Reasoned>, EncoderError> {
        self.inner.finish(thoughts)
    }
}

pub(crate) fn encoder() -> Reading {
    Reading { inner: FakeEmbedder::new(FakeOptions::default()) }
}

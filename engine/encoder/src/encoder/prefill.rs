//! Prompts' beginnings, from prefixes that many of them share.

use std::{ops::Range, sync::Arc};

use super::{Encoder, Sequence, model::Role, prefix::PrefixCache, sequence::run};
use crate::{
    backbone::{KvCache, Sight},
    error::EncoderError,
};

/// A prompt that is to run, perhaps with the opening marker of a thought.
pub(crate) struct Start {
    pub(crate) tokens: Vec<u32>,
    /// Where the prompt's content lies; what comes before may be shared.
    pub(crate) content: Range<usize>,
    /// What the prompt's pixels put into its rows.
    pub(crate) sight: Option<Arc<Sight>>,
}

/// Where the keys and values of a prompt's prefix come from.
enum Prefix {
    /// Nowhere: there is none, or it is not worth keeping.
    None,
    /// From an earlier prompt.
    Kept(KvCache),
    /// From this batch, by index. The prompt that asked first pays for it.
    Made { index: usize, is_first: bool },
}

impl Start {
    /// What comes before the content, and so before all pixels; at least one token is left to
    /// run.
    fn prefix(&self) -> &[u32] {
        &self.tokens[..self.content.start.min(self.tokens.len() - 1)]
    }
}

impl Encoder {
    /// Begins sequences at their shared prefixes, whose keys and values are all that they have
    /// yet. Returns them with the number of tokens for which those were reused.
    ///
    /// # Errors
    /// Fails by the encoder's fault.
    pub(super) fn start_sequences(
        &mut self,
        role: Role,
        starts: Vec<Start>,
    ) -> Result<Vec<(Sequence, u32)>, EncoderError> {
        let caches = self.prefixes(role, &starts)?;
        // Room for what comes next, so that the cache need not grow for it.
        let spare = self.model.adapters.queries.count() + self.markers.tokens();
        let started = starts
            .into_iter()
            .zip(caches)
            .map(|(start, (mut cache, reused))| {
                cache.reserve(start.tokens.len() + spare);
                (Sequence::new(start, cache), reused)
            })
            .collect();
        Ok(started)
    }

    /// Finds or makes the keys and values of each sequence's prefix. Prefixes that are
    /// new run first, on their own: so what follows is computed alike whether they were
    /// found or made.
    fn prefixes(
        &mut self,
        role: Role,
        starts: &[Start],
    ) -> Result<Vec<(KvCache, u32)>, EncoderError> {
        let mut made: Vec<Sequence> = Vec::new();
        let mut prefixes = Vec::with_capacity(starts.len());
        for prefix in starts.iter().map(Start::prefix) {
            prefixes.push(if !PrefixCache::accepts(prefix) {
                Prefix::None
            } else if let Some(cache) = self.prefixes.get(role, prefix) {
                Prefix::Kept(cache)
            } else if let Some(index) = made.iter().position(|known| known.tokens == prefix) {
                Prefix::Made { index, is_first: false }
            } else {
                let cache = self.model.new_cache(role, prefix.len());
                made.push(Sequence::unpooled(prefix.to_vec(), cache));
                Prefix::Made { index: made.len() - 1, is_first: true }
            });
        }
        run(&self.model, role, &mut made.iter_mut().collect::<Vec<_>>())?;
        let reused = |cache: KvCache| {
            let tokens = cache.len() as u32;
            (cache, tokens)
        };
        let caches = prefixes
            .into_iter()
            .map(|prefix| match prefix {
                Prefix::None => (self.model.new_cache(role, 0), 0),
                Prefix::Kept(cache) => reused(cache),
                Prefix::Made { index, is_first: true } => (made[index].cache.clone(), 0),
                Prefix::Made { index, is_first: false } => reused(made[index].cache.clone()),
            })
            .collect();
        for sequence in made {
            self.prefixes.insert(role, sequence.tokens, sequence.cache);
        }
        Ok(caches)
    }
}
